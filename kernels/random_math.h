// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Random numbers as a function of (seed, stream, index): no state, so any part of a
// tensor can be drawn anywhere, in any order, with the same result.

#include <cmath>
#include <cstdint>

#include "devices/base/host_device.h"

namespace sluice {

struct RandomBits {
  std::uint32_t word[4];
};

// Philox4x32-10 (Salmon et al. 2011).
SLUICE_HOST_DEVICE inline RandomBits philox(std::uint64_t seed, std::uint64_t stream,
                                            std::uint64_t index) {
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  RandomBits c{{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * c.word[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * c.word[2];
    c = {{static_cast<std::uint32_t>(product1 >> 32) ^ c.word[1] ^ key0,
          static_cast<std::uint32_t>(product1),
          static_cast<std::uint32_t>(product0 >> 32) ^ c.word[3] ^ key1,
          static_cast<std::uint32_t>(product0)}};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return c;
}

// Standard normal (Box, Muller 1958), computed in double.
SLUICE_HOST_DEVICE inline float random_normal(std::uint64_t seed, std::uint64_t stream,
                                              std::uint64_t index) {
  const RandomBits bits = philox(seed, stream, index);
  const double u = (static_cast<double>(bits.word[0]) + 0.5) * 0x1p-32;  // in (0, 1)
  const double angle = static_cast<double>(bits.word[1]) * (0x1p-32 * 6.283185307179586);
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(angle));
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// bfloat16: the upper half of an IEEE binary32, rounded to nearest even.

#include <bit>
#include <cstdint>

#include "devices/base/host_device.h"

namespace sluice {

struct bf16 {
  std::uint16_t bits = 0;

  bool operator==(const bf16&) const = default;
};
static_assert(sizeof(bf16) == 2);

SLUICE_HOST_DEVICE inline float to_float(bf16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
SLUICE_HOST_DEVICE inline float to_float(float x) { return x; }

// NaN stays NaN (quiet); overflow rounds to infinity, as IEEE has it.
SLUICE_HOST_DEVICE inline bf16 to_bf16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  }
  const std::uint32_t to_even = 0x7fffU + ((bits >> 16) & 1U);
  return {static_cast<std::uint16_t>((bits + to_even) >> 16)};
}

}  // namespace sluice

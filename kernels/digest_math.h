// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The hash of one element in a tensor's digest. A digest is the sum of these modulo
// 2^64, so it does not depend on how a tensor is cut or in which order it is read.

#include <cstdint>

#include "kernels/formula.h"

namespace sluice {

// Steele, Lea, Flood 2014 (splitmix64's finalizer): a bijection on 64 bits.
SLUICE_FORMULA std::uint64_t bijection64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// For a fixed salt and index a bijection of `bits`: flipping any one bit of a
// tensor changes its digest.
SLUICE_FORMULA std::uint64_t digest_mix(std::uint64_t salt, std::uint64_t index,
                                        std::uint32_t bits) {
  const std::uint64_t place = salt + (index + 1) * 0x9e3779b97f4a7c15ULL;
  return bijection64(place ^ (bits * 0xd1342543de82ef95ULL));
}

SLUICE_FORMULA std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
SLUICE_FORMULA std::uint32_t bits_of(bf16 x) { return x.bits; }

}  // namespace sluice

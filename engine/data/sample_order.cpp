// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/sample_order.h"

#include <algorithm>
#include <bit>

#include "devices/base/error.h"

namespace sluice {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// The image of `x` under a permutation of 0 ... count - 1 chosen by `key`.
std::uint64_t permute(std::uint64_t x, std::uint64_t count, std::uint64_t key) {
  if (count < 2) return x;
  const std::uint64_t half =
      (std::uint64_t{64} - static_cast<std::uint64_t>(std::countl_zero(count - 1)) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = x >> half;
    std::uint64_t right = x & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mix(mix(key + round) ^ right) & mask);
      left = right;
      right = next;
    }
    x = (left << half) | right;
  } while (x >= count);  // the domain is below 4 * count: four turns on average at most
  return x;
}

}  // namespace

SampleOrder::SampleOrder(std::int64_t tokens, std::int64_t length, std::uint64_t seed)
    : length_(length), seed_(seed) {
  SLUICE_CHECK(length >= 1 && tokens > length);
  // As many windows as fit from any offset below `length`, but at least one.
  count_ = std::max<std::int64_t>(1, (tokens - length) / length);
  offsets_ = std::min(length, tokens - count_ * length);
}

std::int64_t SampleOrder::start_of(std::int64_t index) const {
  SLUICE_CHECK(index >= 0);
  const auto epoch = static_cast<std::uint64_t>(index / count_);
  const auto within = static_cast<std::uint64_t>(index % count_);
  const std::uint64_t key = mix(mix(seed_) ^ epoch);
  const auto window = permute(within, static_cast<std::uint64_t>(count_), key);
  const auto offset = mix(key ^ 0x6f66667365740000U) % static_cast<std::uint64_t>(offsets_);
  return static_cast<std::int64_t>(offset) + static_cast<std::int64_t>(window) * length_;
}

}  // namespace sluice

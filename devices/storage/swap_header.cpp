// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/swap_header.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <random>

namespace sluice {
namespace {

constexpr char kMagic[9] = "SLUSWAP1";
constexpr std::size_t kHashed = 40;

// The block's first 48 bytes as numbers.
using Words = std::array<std::uint64_t, 6>;

}  // namespace

SwapHeader new_swap_header(std::int64_t generation) {
  std::random_device random;
  return {.run_id = (std::uint64_t{random()} << 32) | random(),
          .generation = generation,
          .pid = getpid(),
          .taken = std::time(nullptr)};
}

void encode(const SwapHeader& header, std::span<std::byte, SwapHeader::kSize> block) {
  std::fill(block.begin(), block.end(), std::byte{0});
  Words words{0, header.run_id, static_cast<std::uint64_t>(header.generation),
              static_cast<std::uint64_t>(header.pid), static_cast<std::uint64_t>(header.taken)};
  std::memcpy(words.data(), kMagic, 8);
  words[5] = XXH3_64bits(words.data(), kHashed);
  std::memcpy(block.data(), words.data(), sizeof words);
}

bool has_swap_magic(std::span<const std::byte, SwapHeader::kSize> block) {
  return std::memcmp(block.data(), kMagic, 8) == 0;
}

std::optional<SwapHeader> decode_swap_header(std::span<const std::byte, SwapHeader::kSize> block) {
  if (!has_swap_magic(block)) return std::nullopt;
  Words words;
  std::memcpy(words.data(), block.data(), sizeof words);
  if (words[5] != XXH3_64bits(words.data(), kHashed)) return std::nullopt;
  return SwapHeader{.run_id = words[1],
                    .generation = static_cast<std::int64_t>(words[2]),
                    .pid = static_cast<std::int64_t>(words[3]),
                    .taken = static_cast<std::int64_t>(words[4])};
}

}  // namespace sluice

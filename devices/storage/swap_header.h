// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The first block of a swap file: whose it is, and that it is one of ours at all. Written
// once, when the file is taken; the data behind it is never read by another process.
//
//   offset  size  what
//        0     8  "SLUSWAP1"
//        8     8  run id: random, so that two runs are never taken for one
//       16     8  generation: 1, and one more with each file taken over from a dead run
//       24     8  process id
//       32     8  when it was taken, in seconds since 1970
//       40     8  XXH3 of the 40 bytes before
//       48        zeros, to 4096
// Integers are of the machine's byte order: the file does not leave it.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sluice {

struct SwapHeader {
  static constexpr std::size_t kSize = 4096;

  std::uint64_t run_id = 0;
  std::int64_t generation = 1;
  std::int64_t pid = 0;
  std::int64_t taken = 0;
};

// Of this process, now.
SwapHeader new_swap_header(std::int64_t generation);

void encode(const SwapHeader& header, std::span<std::byte, SwapHeader::kSize> block);

// Whether the block began as a header, though its page may have been torn since.
bool has_swap_magic(std::span<const std::byte, SwapHeader::kSize> block);

// Nothing where the block is not a whole header.
std::optional<SwapHeader> decode_swap_header(std::span<const std::byte, SwapHeader::kSize> block);

}  // namespace sluice

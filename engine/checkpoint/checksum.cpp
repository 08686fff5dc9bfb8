// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checksum.h"

#include <xxhash.h>

#include <algorithm>

#include "kernels/host_kernels.h"

namespace sluice {

std::uint64_t checksum_salt(std::int64_t step, StatePart part, std::string_view tensor) {
  const auto seed = static_cast<std::uint64_t>(step) * 8 + static_cast<std::uint64_t>(part);
  return XXH3_64bits_withSeed(tensor.data(), tensor.size(), seed);
}

void add_to_checksums(std::uint64_t salt, DType dtype, std::int64_t first,
                      std::span<const std::byte> bytes, std::span<std::uint64_t> chunks) {
  const std::int64_t width = size_of(dtype);
  const std::int64_t end = first + static_cast<std::int64_t>(bytes.size()) / width;
  for (std::int64_t at = first; at < end;) {
    const std::int64_t chunk = at / kChunkElements;
    const std::int64_t stop = std::min(end, (chunk + 1) * kChunkElements);
    const std::byte* data = bytes.data() + width * (at - first);
    chunks[static_cast<std::size_t>(chunk)] +=
        digest_on_host({.count = stop - at, .x = data, .dtype = dtype, .salt = salt, .first = at});
    at = stop;
  }
}

}  // namespace sluice

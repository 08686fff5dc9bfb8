// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Checksums of a checkpoint's tensors, one per chunk. A chunk's is the sum, modulo 2^64, of
// one mixed number per element (kernels/digest_math.h), so it does not depend on how the
// state was cut when it was saved. Into each goes what the element is: step, part, name of
// the tensor, index. For a given element it is a bijection: no single flipped element, and
// none that was moved, escapes.

#include <cstdint>
#include <span>
#include <string_view>

#include "devices/base/dtype.h"
#include "offload/state_names.h"

namespace sluice {

inline constexpr std::int64_t kChunkElements = 1 << 20;

std::uint64_t checksum_salt(std::int64_t step, StatePart part, std::string_view tensor);

// Adds elements first, first + 1, ... of a tensor to the checksums of its chunks.
// Requires whole elements.
void add_to_checksums(std::uint64_t salt, DType dtype, std::int64_t first,
                      std::span<const std::byte> bytes, std::span<std::uint64_t> chunks);

}  // namespace sluice

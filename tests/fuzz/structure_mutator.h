// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Changes that leave JSON well-formed, so that they reach what stands behind the syntax: a
// change of bytes seldom does.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// `bytes` with one change of their structure: a number at a limit, two that changed places, a
// key twice, a rank more. They are JSON, or a safetensors file: 64 bits of length, JSON, data;
// the length is kept in step, the data often. Nothing where they are neither.
// Determinism   in `bytes` and `seed`.
std::optional<std::string> mutated_structure(std::string_view bytes, std::uint64_t seed);

}  // namespace sluice

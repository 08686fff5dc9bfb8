// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cstdint>
#include <string_view>

#include "devices/base/units.h"

namespace sluice {

enum class DType : std::uint8_t { kFloat32, kBFloat16 };

constexpr std::int64_t size_of(DType type) { return type == DType::kFloat32 ? 4 : 2; }
constexpr Bytes bytes_of(DType type, std::int64_t count) { return {size_of(type) * count}; }

// "fp32" and "bf16", as in a run config.
constexpr std::string_view name_of(DType type) { return type == DType::kFloat32 ? "fp32" : "bf16"; }

}  // namespace sluice

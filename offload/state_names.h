// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The parts of training state that a digest covers, and the salt of each.

#include <cstdint>
#include <string_view>

namespace sluice {

enum class StatePart : std::uint8_t { kWeight, kMaster, kFirstMoment, kSecondMoment, kStep };

constexpr std::string_view name_of(StatePart part) {
  switch (part) {
    case StatePart::kWeight:
      return "weight";
    case StatePart::kMaster:
      return "master";
    case StatePart::kFirstMoment:
      return "first moment";
    case StatePart::kSecondMoment:
      return "second moment";
    case StatePart::kStep:
      return "step";
  }
  return "";
}

// Distinct for each (flat parameter, tensor, part).
constexpr std::uint64_t digest_salt(std::int32_t flat, std::size_t tensor, StatePart part) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(flat)) << 40) ^
         (static_cast<std::uint64_t>(tensor) << 4) ^ static_cast<std::uint64_t>(part);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a person may have meant by a name that is not known.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Insertions, deletions and replacements that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

// Whether a name at this distance may be meant by `typed`: about a third of it is wrong at most.
bool is_near(std::string_view typed, std::size_t distance);

// The nearest of `choices`; empty where none of them is near.
std::string nearest_of(std::string_view typed, const std::vector<std::string>& choices);

}  // namespace sluice

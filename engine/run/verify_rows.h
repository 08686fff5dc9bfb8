// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Which combinations of switches `verify` runs.

#include <cstddef>
#include <vector>

namespace sluice {

using Row = std::vector<std::size_t>;  // the choice of each switch

// Rows in which every pair of choices of two switches occurs at least once, at
// least `least` of them; `sizes` are the numbers of choices. Deterministic.
std::vector<Row> covering_rows(const std::vector<std::size_t>& sizes, std::size_t least);

// Every row.
std::vector<Row> all_rows(const std::vector<std::size_t>& sizes);

}  // namespace sluice

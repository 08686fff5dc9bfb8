// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/nearest.h"

#include <algorithm>
#include <numeric>

namespace sluice {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

bool is_near(std::string_view typed, std::size_t distance) {
  return distance <= (typed.size() + 1) / 3;
}

std::string nearest_of(std::string_view typed, const std::vector<std::string>& choices) {
  std::string best;
  std::size_t least = typed.size() + 1;
  for (const std::string& choice : choices) {
    const std::size_t distance = edit_distance(typed, choice);
    if (distance >= least || !is_near(typed, distance)) continue;
    least = distance;
    best = choice;
  }
  return best;
}

}  // namespace sluice

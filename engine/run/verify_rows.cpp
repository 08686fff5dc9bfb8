// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/verify_rows.h"

#include <random>
#include <set>
#include <tuple>

namespace sluice {
namespace {

using Pair = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>;

std::set<Pair> all_pairs(const std::vector<std::size_t>& sizes) {
  std::set<Pair> pairs;
  for (std::size_t a = 0; a < sizes.size(); ++a) {
    for (std::size_t b = a + 1; b < sizes.size(); ++b) {
      for (std::size_t i = 0; i < sizes[a]; ++i) {
        for (std::size_t j = 0; j < sizes[b]; ++j) pairs.emplace(a, i, b, j);
      }
    }
  }
  return pairs;
}

template <typename Visit>
void for_pairs(const Row& row, Visit visit) {
  for (std::size_t a = 0; a < row.size(); ++a) {
    for (std::size_t b = a + 1; b < row.size(); ++b) visit(Pair{a, row[a], b, row[b]});
  }
}

}  // namespace

// Greedy: of a few random rows that contain one missing pair, the one that covers most.
std::vector<Row> covering_rows(const std::vector<std::size_t>& sizes, std::size_t least) {
  std::mt19937 random(1);
  std::set<Pair> missing = all_pairs(sizes);
  std::vector<Row> rows;
  const auto any_row = [&] {
    Row row;
    for (const std::size_t size : sizes) row.push_back(random() % size);
    return row;
  };
  while (!missing.empty() || rows.size() < least) {
    Row best;
    std::size_t most = 0;
    for (int attempt = 0; attempt < 40; ++attempt) {
      Row row = any_row();
      if (!missing.empty()) {
        const auto& [a, i, b, j] = *missing.begin();
        row[a] = i;
        row[b] = j;
      }
      std::size_t covered = 0;
      for_pairs(row, [&](const Pair& pair) { covered += missing.count(pair); });
      if (best.empty() || covered > most) {
        best = row;
        most = covered;
      }
    }
    for_pairs(best, [&](const Pair& pair) { missing.erase(pair); });
    rows.push_back(best);
  }
  return rows;
}

std::vector<Row> all_rows(const std::vector<std::size_t>& sizes) {
  std::vector<Row> rows = {{}};
  for (const std::size_t size : sizes) {
    std::vector<Row> longer;
    longer.reserve(rows.size() * size);
    for (const Row& row : rows) {
      for (std::size_t choice = 0; choice < size; ++choice) {
        longer.push_back(row);
        longer.back().push_back(choice);
      }
    }
    rows = std::move(longer);
  }
  return rows;
}

}  // namespace sluice

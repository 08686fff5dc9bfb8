// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/verify_rows.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice {
namespace {

const std::vector<std::size_t> kSizes = {3, 3, 2, 5, 1, 2};

TEST(CoveringRows, HoldEveryPairOfChoices) {
  const std::vector<Row> rows = covering_rows(kSizes, 0);
  for (std::size_t a = 0; a < kSizes.size(); ++a) {
    for (std::size_t b = a + 1; b < kSizes.size(); ++b) {
      std::set<std::pair<std::size_t, std::size_t>> seen;
      for (const Row& row : rows) seen.emplace(row[a], row[b]);
      EXPECT_EQ(seen.size(), kSizes[a] * kSizes[b]) << a << " with " << b;
    }
  }
  EXPECT_LT(rows.size(), all_rows(kSizes).size());
}

TEST(CoveringRows, AreAsManyAsWantedAndAlwaysTheSame) {
  EXPECT_GE(covering_rows(kSizes, 40).size(), 40U);
  EXPECT_EQ(covering_rows(kSizes, 40), covering_rows(kSizes, 40));
}

TEST(AllRows, AreTheProductEachOnce) {
  const std::vector<Row> rows = all_rows(kSizes);
  EXPECT_EQ(rows.size(), 180U);
  EXPECT_EQ(std::set<Row>(rows.begin(), rows.end()).size(), 180U);
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/place_rules.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr LayerName kEmbedding{LayerName::Kind::kEmbedding, 0};
constexpr LayerName kHead{LayerName::Kind::kHead, 0};
LayerName block(std::int64_t number) { return {LayerName::Kind::kBlock, number}; }

TEST(PlaceRules, TheFirstThatMatchesWins) {
  const PlaceRules rules = {{"embedding,2-3", HomeChoice::kDevice},
                            {"0-5", HomeChoice::kHost},
                            {"*", HomeChoice::kStorage}};
  EXPECT_EQ(home_of(rules, kEmbedding), HomeChoice::kDevice);
  EXPECT_EQ(home_of(rules, block(1)), HomeChoice::kHost);
  EXPECT_EQ(home_of(rules, block(2)), HomeChoice::kDevice);
  EXPECT_EQ(home_of(rules, block(3)), HomeChoice::kDevice);
  EXPECT_EQ(home_of(rules, block(5)), HomeChoice::kHost);
  EXPECT_EQ(home_of(rules, block(6)), HomeChoice::kStorage);
  EXPECT_EQ(home_of(rules, kHead), HomeChoice::kStorage);
}

TEST(PlaceRules, ALayerThatNoRuleNamesIsThePlanners) {
  EXPECT_EQ(home_of({{"7", HomeChoice::kHost}}, block(8)), HomeChoice::kAuto);
  EXPECT_EQ(home_of({}, kHead), HomeChoice::kAuto);
}

TEST(PlaceRules, OnlyWellFormedListsAreLists) {
  for (const char* good : {"*", "0", "0-3,7", "embedding,head,12-12"}) {
    EXPECT_TRUE(is_layer_list(good)) << good;
  }
  for (const char* bad : {"", ",", "3-1", "-1", "1-", "a", "0,", "1 2", "99999999999999999999"}) {
    EXPECT_FALSE(is_layer_list(bad)) << bad;
  }
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/sample_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace sluice {
namespace {

std::vector<std::int64_t> epoch_of(const SampleOrder& order, std::int64_t epoch) {
  std::vector<std::int64_t> starts;
  for (std::int64_t i = 0; i < order.samples_per_epoch(); ++i) {
    starts.push_back(order.start_of(epoch * order.samples_per_epoch() + i));
  }
  return starts;
}

TEST(SampleOrder, WindowsOfAnEpochFollowEachOtherWithoutOverlap) {
  for (const std::int64_t tokens : {2, 10, 65, 66, 127, 128, 129, 1000, 10007}) {
    for (const std::int64_t length : {1, 2, 7, 64}) {
      if (tokens <= length) continue;
      const SampleOrder order(tokens, length, 1);
      for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
        std::vector<std::int64_t> starts = epoch_of(order, epoch);
        std::sort(starts.begin(), starts.end());
        EXPECT_GE(starts.front(), 0);
        EXPECT_LE(starts.back() + length + 1, tokens) << tokens << " " << length;
        for (std::size_t i = 1; i < starts.size(); ++i) {
          ASSERT_EQ(starts[i], starts[i - 1] + length) << tokens << " " << length;
        }
      }
    }
  }
}

TEST(SampleOrder, AnEpochCoversAllButTheEdges) {
  for (const std::int64_t tokens : {65, 130, 1000, 10007}) {
    const SampleOrder order(tokens, 64, 1);
    EXPECT_GT(order.samples_per_epoch() * 64, tokens - 2 * 64) << tokens;
  }
}

TEST(SampleOrder, IsAFunctionOfSeedAndIndexAlone) {
  const SampleOrder a(100'000, 64, 7);
  const SampleOrder b(100'000, 64, 7);
  for (const std::int64_t index : {123456, 5, 99, 123456}) {
    EXPECT_EQ(a.start_of(index), b.start_of(index));
  }
}

TEST(SampleOrder, EpochsAndSeedsDifferInOrderAndOffset) {
  const SampleOrder order(100'000, 64, 7);
  const SampleOrder other(100'000, 64, 8);
  EXPECT_NE(epoch_of(order, 0), epoch_of(order, 1));
  EXPECT_NE(epoch_of(order, 0), epoch_of(other, 0));
  std::set<std::int64_t> offsets;
  for (std::int64_t epoch = 0; epoch < 200; ++epoch) {
    offsets.insert(order.start_of(epoch * order.samples_per_epoch()) % 64);
  }
  EXPECT_GT(offsets.size(), 50U);  // of 64; a fair draw of 200 misses about 3
}

// A weak permutation would leave neighbours together.
TEST(SampleOrder, NeighboursAreScattered) {
  const SampleOrder order(1'000'001, 10, 3);
  const std::vector<std::int64_t> starts = epoch_of(order, 0);
  std::int64_t close = 0, ascending = 0;
  for (std::size_t i = 1; i < starts.size(); ++i) {
    close += std::abs(starts[i] - starts[i - 1]) <= 100 ? 1 : 0;
    ascending += starts[i] > starts[i - 1] ? 1 : 0;
  }
  const auto count = static_cast<std::int64_t>(starts.size());
  EXPECT_LT(close, count / 1000);  // fair: 20 in 100,000
  EXPECT_NEAR(static_cast<double>(ascending), static_cast<double>(count) / 2,
              static_cast<double>(count) / 100);
}

// Order is part of every recorded loss: it must not change unnoticed.
TEST(SampleOrder, IsTheOneOfEarlierReleases) {
  const SampleOrder order(1'003'854, 64, 1);
  EXPECT_EQ(order.samples_per_epoch(), 15'684);
  const std::vector<std::int64_t> first = {order.start_of(0), order.start_of(1),
                                           order.start_of(15'684)};
  EXPECT_EQ(first, (std::vector<std::int64_t>{414713, 141049, 46907}));
}

}  // namespace
}  // namespace sluice

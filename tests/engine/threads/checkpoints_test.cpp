// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// A run and the threads that write its checkpoints, for ThreadSanitizer to look at.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/fault/killed_run.h"

namespace sluice {
namespace {

TEST(Checkpoints, OfEveryStepAreWrittenBesideTheNextOne) {
  constexpr int kSteps = 12;
  const std::vector<std::vector<ConfigFlag>> ways = {
      {},
      {{"eval.every", "5"}},
      {{"train.clip", "0"}, {"place.update", "backward"}},
  };
  for (const std::vector<ConfigFlag>& way : ways) {
    for (const int every : {1, 2}) {
      const KilledRun run(kSteps, every);
      ASSERT_EQ(run.train(false, way), 0);
      EXPECT_EQ(run.digests().size(), static_cast<std::size_t>(kSteps));
      EXPECT_EQ(run.whole_checkpoints(), (std::vector<std::int64_t>{kSteps, kSteps - every}));
      EXPECT_TRUE(run.leftovers().empty());
    }
  }
}

}  // namespace
}  // namespace sluice

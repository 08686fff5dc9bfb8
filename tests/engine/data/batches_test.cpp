// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/batches.h"

#include <gtest/gtest.h>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

using Ids = std::vector<std::int32_t>;

TokenRange digits(const ScratchFolder& folder, const std::string& text) {
  return open_tokens({folder.write("t.txt", text)}, TokenFormat::kBytes, 256);
}

TEST(TrainingBatches, TargetsAreTheNextTokens) {
  const ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 250; ++i) text += static_cast<char>(i);
  const TrainingBatches batches(digits(folder, text), 8, 1);
  Ids ids(5 * 8), targets(5 * 8);

  EXPECT_EQ(batches.fill(3, ids, targets), 40);

  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(targets[i], ids[i] + 1);
    if (i % 8 != 0) {
      EXPECT_EQ(ids[i], ids[i - 1] + 1);
    }
  }
}

TEST(TrainingBatches, SamplesDoNotDependOnTheBatchTheyAreIn) {
  const ScratchFolder folder;
  const TrainingBatches batches(digits(folder, std::string(100, 'a') + std::string(99, 'b')), 4, 1);
  Ids ids(12 * 4), targets(12 * 4), one(4), one_target(4);
  batches.fill(40, ids, targets);
  for (std::size_t row = 0; row < 12; ++row) {
    batches.fill(40 + static_cast<std::int64_t>(row), one, one_target);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), ids.begin() + static_cast<int>(row) * 4));
  }
}

TEST(EvaluationWindows, PredictEveryTokenButTheFirstOnce) {
  const ScratchFolder folder;
  const EvaluationWindows windows(digits(folder, "0123456789"), 4);
  ASSERT_EQ(windows.count(), 3);
  Ids ids(4 * 4), targets(4 * 4);

  EXPECT_EQ(windows.fill(0, ids, targets), 9);

  EXPECT_EQ(ids, (Ids{'0', '1', '2', '3', '4', '5', '6', '7', '8', 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(targets,
            (Ids{'1', '2', '3', '4', '5', '6', '7', '8', '9', -1, -1, -1, -1, -1, -1, -1}));
}

TEST(EvaluationWindows, ALastWindowThatIsWholeIsNotMasked) {
  const ScratchFolder folder;
  const EvaluationWindows windows(digits(folder, "012345678"), 4);
  ASSERT_EQ(windows.count(), 2);
  Ids ids(4), targets(4);
  EXPECT_EQ(windows.fill(1, ids, targets), 4);
  EXPECT_EQ(targets, (Ids{'5', '6', '7', '8'}));
}

}  // namespace
}  // namespace sluice

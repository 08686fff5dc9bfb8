// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/nonfinite.h"

#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

TEST(NonFinite, NumbersThatAreNotFiniteEndTheRunWithoutAModel) {
  const RunScratch scratch;
  expect_error(ErrorKind::kNonFinite, {"step 2, samples 4 to 7", "gradient of", "optimizer.lr"},
               [&] {
                 scratch.train({{"optimizer.lr", "1e30"}});
               });
  EXPECT_FALSE(scratch.exists("run/model"));
  EXPECT_EQ(scratch.metrics("\"stop\"").size(), 1U);
}

TEST(NonFinite, AModelWhoseValidationIsNotFiniteIsNotSaved) {
  const RunScratch scratch;
  expect_error(ErrorKind::kNonFinite, {"step 1", "validation"}, [&] {
    scratch.train({{"optimizer.lr", "1e38"}, {"train.steps", "1"}});
  });
  EXPECT_FALSE(scratch.exists("run/model"));
}

TEST(NonFinite, SkippedStepsAreCountedAndDigestedUntilTheyAreTooMany) {
  const RunScratch scratch;
  expect_error(ErrorKind::kNonFinite, {"step 12", "11 steps in a row"}, [&] {
    scratch.train({{"optimizer.lr", "1e30"},
                   {"train.on_nonfinite", "skip"},
                   {"train.steps", "100"},
                   {"log.digest", "true"}});
  });
  // The last step's line may be cut off by the error.
  EXPECT_GE(scratch.metrics("digest").size(), 10U);
  EXPECT_GE(scratch.metrics("\"skipped\":9").size(), 1U);
  const std::vector<std::string> skips = scratch.metrics("\"event\":\"skip\"");
  ASSERT_GE(skips.size(), 9U);
  EXPECT_NE(skips[0].find("\"first_sample\":4,\"last_sample\":7"), std::string::npos) << skips[0];
  expect_error(ErrorKind::kNonFinite, {"3 steps in a row", "train.max_skips is 2"}, [&] {
    scratch.train(
        {{"optimizer.lr", "1e30"}, {"train.on_nonfinite", "skip"}, {"train.max_skips", "2"}},
        {.run_dir = scratch / "second"});
  });
}

// Whatever is saved meanwhile: with a sound learning rate the run goes on.
TEST(NonFinite, WhileStepsAreSkippedTheLastGoodCheckpointStays) {
  const RunScratch scratch;
  const auto train = [&](const char* steps, const char* rate, bool resume) {
    scratch.train({{"optimizer.lr", rate},
                   {"schedule.kind", "constant"},
                   {"data.val_fraction", "0"},
                   {"train.on_nonfinite", "skip"},
                   {"checkpoint.every", "2"},
                   {"train.steps", steps}},
                  {.resume = resume});
  };
  train("4", "1e-3", false);
  expect_error(ErrorKind::kNonFinite, {"11 steps in a row"}, [&] { train("100", "1e30", true); });
  EXPECT_TRUE(scratch.exists("run/checkpoints/step-4"));
  for (const FoundCheckpoint& found : find_checkpoints(scratch / "run/checkpoints")) {
    EXPECT_LE(found.step, 5);  // the step whose numbers were the last to be finite
    if (found.step > 4) std::filesystem::remove_all(found.path);
  }
  train("8", "1e-3", true);
  EXPECT_TRUE(scratch.exists("run/checkpoints/step-8"));
}

// Of the run and in a row: one that is resumed gives up at the step where it would have.
TEST(NonFinite, SkippedStepsAreCountedOnAcrossAResume) {
  const RunScratch scratch;
  const auto train = [&](const char* steps, bool resume) {
    scratch.train({{"optimizer.lr", "1e30"},
                   {"schedule.kind", "constant"},
                   {"data.val_fraction", "0"},
                   {"train.on_nonfinite", "skip"},
                   {"train.max_skips", "6"},
                   {"train.steps", steps}},
                  {.resume = resume});
  };
  train("5", false);
  const RunState run = CheckpointReader(scratch / "run/checkpoints/step-5").manifest().run;
  EXPECT_EQ(run.skipped.all, 4);
  EXPECT_EQ(run.skipped.in_a_row, 4);
  expect_error(ErrorKind::kNonFinite, {"step 8", "7 steps in a row"}, [&] { train("20", true); });
  EXPECT_EQ(scratch.metrics("\"skipped\":5").size(), 1U);
}

}  // namespace
}  // namespace sluice

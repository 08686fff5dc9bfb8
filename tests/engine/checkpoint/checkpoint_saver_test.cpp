// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_saver.h"

#include "tests/engine/checkpoint/small_state.h"

namespace sluice {
namespace {

// Saves step 10 of a run whose steps take 10 ms, but that one 60; what is told of it.
SavedCheckpoint saved_slowly(CheckpointSaver& saver, SmallState& state) {
  for (std::int64_t step = 1; step < 10; ++step) saver.completed(step, Seconds{0.01});
  EXPECT_TRUE(saver.wants(10));
  save_state(state.workload(), state.state(), 10, saver);
  RunState run;
  run.step = 10;
  saver.reported(run);
  saver.completed(10, Seconds{0.06});
  saver.logged(10);
  saver.wait();
  const std::vector<SavedCheckpoint> ended = saver.take_finished();
  EXPECT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended.front().failure, "");
  EXPECT_NEAR(ended.front().pause.count(), 0.05, 1e-9);
  return ended.front();
}

SaverOptions options_for(const std::filesystem::path& folder, double most_cost) {
  return {.folder = folder,
          .every = 10,
          .most_cost = most_cost,
          .facts = {.config_toml = "# nothing\n", .config_json = "{}"}};
}

TEST(CheckpointSaver, WhatHoldsTrainingUpTooLongBecomesRarer) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  CheckpointSaver saver(state.workload(), options_for(folder.path(), 0.01));
  EXPECT_EQ(saved_slowly(saver, state).next_every, 20);
  EXPECT_FALSE(saver.wants(30));
  EXPECT_TRUE(saver.wants(40));
}

TEST(CheckpointSaver, AnIntervalThatWasAskedForStays) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  CheckpointSaver saver(state.workload(), options_for(folder.path(), 0));
  EXPECT_EQ(saved_slowly(saver, state).next_every, 0);
  EXPECT_TRUE(saver.wants(30));
}

}  // namespace
}  // namespace sluice

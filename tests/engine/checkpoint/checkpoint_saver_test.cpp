// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_saver.h"

#include "tests/engine/checkpoint/small_state.h"

namespace sluice {
namespace {

SavedCheckpoint save(CheckpointSaver& saver, SmallState& state, std::int64_t step) {
  RunState run;
  run.step = step;
  saver.logged(step, true);
  saver.save_at_rest(run, state.state());
  const std::vector<SavedCheckpoint> ended = saver.take_finished();
  EXPECT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended.front().failure, "");
  return ended.front();
}

// Saves step 10 of a run whose steps take 10 ms, but the second behind it 60; what is told of it.
SavedCheckpoint saved_slowly(CheckpointSaver& saver, SmallState& state) {
  for (std::int64_t step = 1; step < 10; ++step) saver.completed(step, Seconds{0.01});
  EXPECT_TRUE(saver.wants(10));
  save_state(state.workload(), state.state(), 10, saver);
  RunState run;
  run.step = 10;
  saver.reported(run);
  saver.completed(10, Seconds{0.01});
  saver.logged(10, true);
  saver.wait();
  saver.completed(11, Seconds{0.01});
  saver.completed(12, Seconds{0.06});
  EXPECT_TRUE(saver.take_finished(/*all=*/false).empty());
  saver.completed(13, Seconds{0.01});
  const std::vector<SavedCheckpoint> ended = saver.take_finished(/*all=*/false);
  EXPECT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended.front().failure, "");
  EXPECT_NEAR(ended.front().pause.count(), 0.05, 1e-9);
  return ended.front();
}

// Asked for every 10 steps; after one save that held training up for long.
struct AfterASlowSave {
  explicit AfterASlowSave(double most_cost)
      : saver(state.workload(), {.folder = folder.path(),
                                 .every = 10,
                                 .most_cost = most_cost,
                                 .facts = {.config_toml = "# nothing\n", .config_json = "{}"}}) {
    state.fill(1);
    next_every = saved_slowly(saver, state).next_every;
  }

  ScratchFolder folder{folder_in_memory()};
  SmallState state;
  CheckpointSaver saver;
  std::int64_t next_every = -1;
};

TEST(CheckpointSaver, WhatHoldsTrainingUpTooLongBecomesRarer) {
  AfterASlowSave run(0.01);
  EXPECT_EQ(run.next_every, 20);
  EXPECT_FALSE(run.saver.wants(30));
  EXPECT_TRUE(run.saver.wants(40));
}

TEST(CheckpointSaver, AnIntervalThatWasAskedForStays) {
  AfterASlowSave run(0);
  EXPECT_EQ(run.next_every, 0);
  EXPECT_TRUE(run.saver.wants(30));
}

// The lines of a run that went on from it would have a gap.
TEST(CheckpointSaver, WithoutItsLinesInTheFileACheckpointFails) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  CheckpointSaver saver(state.workload(), {.folder = folder.path(), .metrics = "metrics.jsonl"});
  saver.logged(1, false);
  RunState run;
  run.step = 1;
  saver.save_at_rest(run, state.state());
  const std::vector<SavedCheckpoint> ended = saver.take_finished();
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_NE(ended.front().failure.find("metrics.jsonl"), std::string::npos);
  EXPECT_EQ(saver.newest(), 0);
  EXPECT_TRUE(folder.names().empty());
}

// Of its own checkpoints, too, a run believes none that it has not read again.
TEST(CheckpointSaver, AnOlderCheckpointStaysWhileANewerOneIsDamaged) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  CheckpointSaver saver(
      state.workload(),
      {.folder = folder.path(), .facts = {.config_toml = "# nothing\n", .config_json = "{}"}});
  EXPECT_EQ(save(saver, state, 1).not_pruned, "");
  EXPECT_EQ(save(saver, state, 2).not_pruned, "");
  const std::string file = "step-2/first_moment.safetensors";
  write_at(folder / file, state.layout().tensor(StatePart::kFirstMoment, 0, 0).offset.value, "x");
  const std::string warning = save(saver, state, 3).not_pruned;
  EXPECT_NE(warning.find(file), std::string::npos) << warning;
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-1", "step-2", "step-3"}));
}

}  // namespace
}  // namespace sluice

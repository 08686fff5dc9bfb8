// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_folder.h"

#include "tests/engine/checkpoint/small_state.h"
#include "tests/soak.h"

namespace sluice {
namespace {

std::vector<std::int64_t> steps_in(const std::filesystem::path& folder) {
  std::vector<std::int64_t> steps;
  for (const FoundCheckpoint& found : find_checkpoints(folder)) steps.push_back(found.step);
  return steps;
}

TEST(CheckpointFolder, ANameIsAStepInOneWayOnly) {
  EXPECT_EQ(checkpoint_name(120), "step-120");
  EXPECT_EQ(step_of_name("step-120"), 120);
  EXPECT_EQ(step_of_name("step-0"), 0);
  for (const char* name :
       {"", "step-", "step-07", "step--1", "step-+1", "step-1 ", "step-1.tmp-9", "STEP-1",
        "step-1x", ".step-1.old", "step-99999999999999999999", "model"}) {
    EXPECT_EQ(step_of_name(name), std::nullopt) << name;
  }
}

TEST(CheckpointFolder, KeepsTheNewestAndNeverFewerThanTwo) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  for (const std::int64_t step : {1, 2, 3, 4, 5, 6}) state.save(folder.path(), step);
  std::set<std::int64_t> unsound;
  EXPECT_EQ(prune_checkpoints(folder.path(), 4, 6, unsound), "");
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{6, 5, 4, 3}));
  EXPECT_EQ(prune_checkpoints(folder.path(), 1, 6, unsound), "");
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{6, 5}));
  EXPECT_EQ(folder.names().size(), 2U);
}

TEST(CheckpointFolder, WhatIsNotSoundDoesNotCount) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  for (const std::int64_t step : {1, 2, 3, 4, 5, 6, 9}) state.save(folder.path(), step);
  std::filesystem::resize_file(folder / "step-5/model.safetensors", 100);
  std::set<std::int64_t> unsound = {4};
  const std::string damage = prune_checkpoints(folder.path(), 2, 6, unsound);
  EXPECT_NE(damage.find("step-5/model.safetensors"), std::string::npos) << damage;
  // 9 is of a future that this run has not seen, 5 is cut, 4 did not verify.
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{9, 6, 5, 4, 3}));
  EXPECT_EQ(unsound, (std::set<std::int64_t>{4, 5}));
}

// A flipped bit, which nothing but reading all of it can show; in one that an earlier pruning
// found sound.
TEST(CheckpointFolder, ADamagedOneDoesNotCountEither) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  std::set<std::int64_t> unsound;
  for (const std::int64_t step : {1, 2, 3, 4}) {
    state.save(folder.path(), step);
    EXPECT_EQ(prune_checkpoints(folder.path(), 2, step, unsound), "");
  }
  const CheckpointTensor& tensor = state.layout().tensor(StatePart::kFirstMoment, 0, 0);
  write_at(folder / "step-4/first_moment.safetensors", tensor.offset.value, "x");
  state.save(folder.path(), 5);
  const std::string damage = prune_checkpoints(folder.path(), 2, 5, unsound);
  EXPECT_NE(damage.find(tensor.header.name), std::string::npos) << damage;
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{5, 4, 3}));
  state.save(folder.path(), 6);
  EXPECT_EQ(prune_checkpoints(folder.path(), 2, 6, unsound), "");  // said once
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{6, 5, 4}));
}

TEST(CheckpointFolder, LeftoversOfOursGoAndNothingElse) {
  const ScratchFolder folder(folder_in_memory());
  for (const char* name :
       {"step-3.tmp-77-5-0/model.safetensors", ".step-2.old/x", "step-4/manifest.json",
        "mine/notes.txt", "notes.tmp-1", "step-x.tmp-1/y", ".bashrc.old"}) {
    folder.write(name, "x");
  }
  remove_leftovers(folder.path());
  EXPECT_EQ(folder.names(), (std::vector<std::string>{".bashrc.old", "mine", "notes.tmp-1",
                                                      "step-4", "step-x.tmp-1"}));
}

TEST(CheckpointFolder, ACheckpointOfTheSameStepIsReplacedWhole) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  state.fill(1);
  state.save(folder.path(), 7);
  state.fill(2);
  const auto expected = state.bytes();
  state.save(folder.path(), 7);
  state.fill(3);
  CheckpointReader(folder / "step-7").load(state.workload(), state.state());
  EXPECT_EQ(state.bytes(), expected);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"step-7"});
}

TEST(CheckpointFolder, WithoutACommitNothingStays) {
  const ScratchFolder folder(folder_in_memory());
  const SmallState state;
  { const CheckpointWriter writer(folder.path(), state.layout(), 1); }
  EXPECT_TRUE(folder.names().empty());
}

TEST(CheckpointFolder, SavedAndLoadedAgainAndAgainNothingGrows) {
  const ScratchFolder folder(folder_in_memory());
  SmallState state;
  std::set<std::int64_t> unsound;
  const auto entries = [](const std::filesystem::path& of) {
    return std::distance(std::filesystem::recursive_directory_iterator(of), {});
  };
  // As du counts: blocks that the disk has given away, also behind a file's end.
  const auto blocks = [](const std::filesystem::path& of) {
    std::int64_t sum = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(of)) {
      struct stat status {};
      EXPECT_EQ(stat(entry.path().c_str(), &status), 0);
      if (entry.is_regular_file()) sum += status.st_blocks;
    }
    return sum;
  };
  std::ptrdiff_t files = 0, descriptors = 0;
  std::int64_t on_disk = 0;
  const int cycles = times(30, 1000);
  constexpr int kBefore = 1000;  // numbers of one length, and so manifests
  for (int step = kBefore + 1; step <= kBefore + cycles; ++step) {
    state.fill(static_cast<unsigned>(step));
    const std::vector<std::byte> saved = state.bytes();
    const std::filesystem::path made = state.save(folder.path(), step);
    EXPECT_EQ(prune_checkpoints(folder.path(), 2, step, unsound), "");
    state.fill(0);
    CheckpointReader(made).load(state.workload(), state.state());
    ASSERT_EQ(state.bytes(), saved);
    if (step > kBefore + 3) {  // two that are kept, and what a first time takes
      ASSERT_EQ(entries(folder.path()), files) << "step " << step;
      ASSERT_EQ(entries("/proc/self/fd"), descriptors) << "step " << step;
      ASSERT_EQ(blocks(folder.path()), on_disk) << "step " << step;
    }
    files = entries(folder.path());
    on_disk = blocks(folder.path());
    descriptors = entries("/proc/self/fd");
  }
}

}  // namespace
}  // namespace sluice

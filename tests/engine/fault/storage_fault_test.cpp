// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Training on a drive that fails in every way that tests/support/faulty_storage.h names: the
// digests of an undisturbed run, or a stop that names file, operation and lane.

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/fault/killed_run.h"
#include "tests/engine/run/run_scratch.h"
#include "tests/soak.h"
#include "tests/support/faulty_storage.h"

namespace sluice {
namespace {

std::vector<ConfigFlag> all_on_storage() {
  return {{"place.optimizer", "storage"}, {"place.weights", "storage"},
          {"place.gradients", "storage"}, {"log.digest", "true"},
          {"eval.sequences", "1"},        {"train.steps", "6"}};
}

std::vector<std::string> digests(const RunScratch& scratch) {
  std::vector<std::string> found;
  for (const std::string& line : scratch.metrics("\"digest\"")) {
    found.push_back(line.substr(line.find("\"digest\"")));
  }
  return found;
}

// What a run that overwrites the one before ends with; empty where it does not fail.
std::string io_error_of(const RunScratch& scratch) {
  try {
    scratch.train(all_on_storage(), {.overwrite = true});
    return {};
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo) << error.what();
    return error.what();
  }
}

bool changes_data(Failpoint point) { return point >= Failpoint::kReadFlipped; }

TEST(StorageFault, EveryFailpointIsHitAndEndsInTheSameDigestsOrInAStopThatSaysWhere) {
  const RunScratch scratch;
  scratch.train(all_on_storage());
  const std::vector<std::string> right = digests(scratch);
  ASSERT_EQ(right.size(), 6U);
  for (const NamedFailpoint& named : kFailpoints) {
    const bool error =
        named.point == Failpoint::kReadError || named.point == Failpoint::kWriteError;
    const bool goes_on = !error && !changes_data(named.point);
    for (unsigned seed = 1; seed <= 2; ++seed) {
      SCOPED_TRACE(std::string(named.name) + ", seed " + std::to_string(seed));
      // Behind start-up, at most places; harmless ones strike again and again.
      const FaultsInStorage faults({.point = named.point,
                                    .seed = seed,
                                    .first = 25 + 15 * static_cast<int>(seed),
                                    .share = goes_on ? 0.1 : 1.0,
                                    .most = goes_on ? 10 : 1});
      if (goes_on) {
        scratch.train(all_on_storage(), {.overwrite = true});
        EXPECT_EQ(digests(scratch), right);
      } else {
        const std::string what = io_error_of(scratch);
        EXPECT_NE(what.find(error ? "planted" : "checksum"), std::string::npos) << what;
        EXPECT_NE(what.find(", lane storage_"), std::string::npos) << what;
        EXPECT_FALSE(scratch.exists("run/sluice-rank0.swap"));
      }
      EXPECT_GT(faults.counted().struck, 0);
    }
  }
}

TEST(StorageFault, WithoutChecksumsAFlippedBitIsNotSeen) {
  const RunScratch scratch;
  std::vector<ConfigFlag> flags = all_on_storage();
  scratch.train(flags);
  const std::vector<std::string> right = digests(scratch);
  flags.push_back({"limits.storage_checksum", "false"});
  scratch.train(flags, {.overwrite = true});
  EXPECT_EQ(digests(scratch), right);
  const FaultsInStorage faults(
      {.point = Failpoint::kReadFlipped, .seed = 2, .first = 25, .most = 40});
  try {
    scratch.train(flags, {.overwrite = true});
    EXPECT_NE(digests(scratch), right);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNonFinite) << error.what();
  }
}

// A run that is killed leaves its swap file. What stands there is never taken for state: the
// next run begins from the checkpoint, whatever has become of the file, and whoever's it is.
TEST(StorageFault, WhatAKilledRunLeftOnStorageIsNeverTrusted) {
  const RunScratch scratch;
  std::vector<ConfigFlag> flags = all_on_storage();
  flags.push_back({"checkpoint.every", "2"});
  flags.push_back({"train.steps", "12"});
  scratch.train(flags);
  const std::vector<std::string> right = digests(scratch);
  ASSERT_EQ(right.size(), 12U);
  const std::filesystem::path swap = scratch / "run/sluice-rank0.swap";
  const std::filesystem::path older = scratch / "older.swap";
  std::mt19937 random(1);
  for (int kills = 0; kills < times(4, 50);) {
    std::filesystem::remove_all(scratch / "run");
    const pid_t child = start_child([&] {
      scratch.train(flags);
      return 0;
    });
    while (find_checkpoints(scratch / "run/checkpoints").empty()) ::usleep(500);
    ::usleep(static_cast<useconds_t>(random() % 5000));
    ::kill(child, SIGKILL);
    if (end_of(child) != -SIGKILL || !std::filesystem::exists(swap)) continue;  // it was too fast
    // As it was left; damaged behind its header; another run's, or this one's of before.
    if (kills % 3 == 1) {
      std::fstream file(swap, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(8192);
      for (int i = 0; i < 100'000; ++i) file.put(static_cast<char>(random()));
    } else if (kills % 3 == 2) {
      std::filesystem::copy_file(older, swap, std::filesystem::copy_options::overwrite_existing);
    }
    if (kills % 3 == 0)
      std::filesystem::copy_file(swap, older, std::filesystem::copy_options::overwrite_existing);
    SCOPED_TRACE("kill " + std::to_string(kills++));
    scratch.train(flags, {.resume = true});
    EXPECT_EQ(digests(scratch), right);
    EXPECT_FALSE(std::filesystem::exists(swap));
  }
}

}  // namespace
}  // namespace sluice

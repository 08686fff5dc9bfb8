// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Training on a drive that fails in every way that tests/support/faulty_storage.h names: the
// digests of an undisturbed run, or a stop that names file, operation and lane.

#include <gtest/gtest.h>

#include "tests/engine/run/run_scratch.h"
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

}  // namespace
}  // namespace sluice

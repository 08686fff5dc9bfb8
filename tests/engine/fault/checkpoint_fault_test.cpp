// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Checkpoints when the process dies, or a file call fails, at every point there is.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <random>

#include "tests/engine/fault/killed_run.h"
#include "tests/soak.h"

namespace sluice {
namespace {

constexpr int kMostPoints = 500;  // more than a run has
constexpr int kNotReached = 77;   // the exit status of a run that ended before its fault

// Every point, in tests of their own that each take every fourth, so that none takes long.
class EveryPoint : public testing::TestWithParam<int> {
 protected:
  static constexpr int kTests = 4;

  // act(at) until a run ends without having come to its point. Returns how many did.
  template <typename Act>
  static int for_every_point(Act act) {
    int reached = 0;
    for (int at = GetParam(); at < kMostPoints; at += kTests) {
      if (!act(at)) return reached;
      ++reached;
    }
    ADD_FAILURE() << "the run never ended";
    return 0;
  }
};
INSTANTIATE_TEST_SUITE_P(CheckpointFault, EveryPoint, testing::Range(1, kSlow ? 2 : 5));

TEST_P(EveryPoint, KilledBeforeAnyCallOfACheckpointTheRunGoesOnAsIfNothingHadBeen) {
  const auto expected = undisturbed(3, 2);
  const KilledRun run(3, 2);
  const int points = for_every_point([&](int at) {
    run.clear();
    FaultAt faults("/checkpoints", at, {}, /*kills=*/true);
    const int killed = in_child([&] { return run.train_with(faults, false); });
    if (killed == 0) return false;
    EXPECT_EQ(killed, -SIGKILL) << "point " << at;
    EXPECT_NO_THROW(run.whole_checkpoints()) << "point " << at;
    EXPECT_EQ(in_child([&] { return run.train(true); }), 0) << "point " << at;
    EXPECT_EQ(run.digests(), expected) << "point " << at;
    EXPECT_TRUE(run.leftovers().empty()) << "point " << at;
    EXPECT_EQ(run.whole_checkpoints().front(), 3) << "point " << at;
    return true;
  });
  EXPECT_GT(points, 7);  // two checkpoints of six files
}

// Renames and removals of the older ones: a checkpoint goes at once or not at all.
TEST_P(EveryPoint, KilledWhileOlderOnesAreRemovedTheLastTwoStay) {
  const int steps = times(20, 300);
  const auto expected = undisturbed(steps, 1);
  const KilledRun run(steps, 1);
  int killed_while_pruning = 0;
  for_every_point([&](int at) {
    run.clear();
    FaultAt faults(".old", at, {}, /*kills=*/true);
    const int killed = in_child([&] { return run.train_with(faults, false); });
    if (killed == 0) return false;
    EXPECT_EQ(killed, -SIGKILL);
    const auto whole = run.whole_checkpoints();
    EXPECT_GE(whole.size(), 2U) << "point " << at;
    ++killed_while_pruning;
    EXPECT_EQ(in_child([&] { return run.train(true); }), 0) << "point " << at;
    EXPECT_EQ(run.digests(), expected) << "point " << at;
    EXPECT_TRUE(run.leftovers().empty()) << "point " << at;
    return killed_while_pruning < times(3, 60);
  });
  EXPECT_GE(killed_while_pruning, 2);
}

// A checkpoint that cannot be written costs itself. Exit 6 only where it was the last one.
TEST_P(EveryPoint, ADriveErrorOrAFullDiskAtAnyCallCostsThatCheckpointAlone) {
  const auto expected = undisturbed(3, 2);
  const KilledRun run(3, 2);
  const int points = for_every_point([&](int at) {
    run.clear();
    FaultAt faults("/checkpoints", at, {.error = at % 2 == 0 ? EIO : ENOSPC});
    const int status = in_child([&] {
      const auto code_of = [&] {
        try {
          return run.train_with(faults, false);
        } catch (const Error& error) {
          return exit_code(error.kind());
        }
      };
      const int code = code_of();
      return faults.count() < at ? kNotReached : code;
    });
    if (status == kNotReached) return false;
    const auto whole = run.whole_checkpoints();
    EXPECT_TRUE(status == 0 || status == 6) << "point " << at << ": " << status;
    EXPECT_EQ(run.digests(), expected) << "point " << at;
    EXPECT_TRUE(run.leftovers().empty()) << "point " << at << ": " << run.leftovers().front();
    const bool last_is_there = !whole.empty() && whole.front() == 3;
    EXPECT_EQ(last_is_there, status == 0) << "point " << at;
    EXPECT_TRUE(std::filesystem::exists(run.run_dir() / "model/model.safetensors"));
    return true;
  });
  EXPECT_GT(points, 4);
}

TEST(CheckpointFault, WritesThatTakeAFewBytesAreGoneOnWith) {
  const auto expected = undisturbed(3, 2);
  const KilledRun run(3, 2);
  FaultAt faults("/checkpoints/", FaultAt::kAlways, {.most = 100});
  EXPECT_EQ(in_child([&] { return run.train_with(faults, false); }), 0);
  EXPECT_EQ(run.digests(), expected);
  EXPECT_EQ(run.whole_checkpoints(), (std::vector<std::int64_t>{3, 2}));
}

TEST(CheckpointFault, InterruptedReservationsAndWritesAreMadeAgain) {
  class Interrupted final : public FileFaults {
   public:
    Outcome before(FileCall call, const std::filesystem::path& path) override {
      if (path.string().find("/checkpoints/") == std::string::npos) return {};
      if (call != FileCall::kReserve && call != FileCall::kWrite) return {};
      constexpr int kErrors[] = {EINTR, EAGAIN, 0};
      return {.error = kErrors[calls_++ % 3]};
    }

   private:
    std::atomic<unsigned> calls_{0};
  };
  const KilledRun run(2, 2);
  Interrupted faults;
  EXPECT_EQ(in_child([&] { return run.train_with(faults, false); }), 0);
  EXPECT_EQ(run.whole_checkpoints(), std::vector<std::int64_t>{2});
}

// A sync that failed is not asked again: the next one would say that all is well.
TEST(CheckpointFault, AFailedSyncIsNeverRepeatedOnTheSameFile) {
  class SyncsOnce final : public FileFaults {
   public:
    Outcome before(FileCall call, const std::filesystem::path& path) override {
      if (call != FileCall::kSync || path.string().find("/checkpoints/") == std::string::npos) {
        return {};
      }
      if (!failed_.empty() && path.parent_path() == failed_) ::_exit(98);
      if (!failed_.empty()) return {};
      failed_ = path.parent_path();
      return {.error = EIO};
    }

   private:
    std::filesystem::path failed_;
  };
  const KilledRun run(3, 3);
  SyncsOnce faults;
  // Only the last step is saved, so the run ends without its checkpoint, or with another try.
  EXPECT_EQ(in_child([&] { return run.train_with(faults, false); }), 0);
  EXPECT_EQ(run.whole_checkpoints(), std::vector<std::int64_t>{3});
}

// A disk on which every sync takes as long as many steps; what is in flight meanwhile, and what a
// crash would cost at that moment.
class SlowDisk final : public FileFaults {
 public:
  explicit SlowDisk(const KilledRun& run) : run_(run) {}

  Outcome before(FileCall call, const std::filesystem::path& path) override {
    const bool is_save = path.filename().string().find(".tmp-") != std::string::npos;
    if (call == FileCall::kMakeFolder && is_save) {
      ++saves_;
      most_in_flight_ = std::max(most_in_flight_.load(), run_.leftovers().size() + 1);
    }
    if (call == FileCall::kSync && path.string().find("/checkpoints/") != std::string::npos) {
      ::usleep(5000);
      most_lost_ = std::max(most_lost_.load(), lost());
    }
    return {};
  }

  int saves() const { return saves_; }
  std::size_t most_in_flight() const { return most_in_flight_; }
  std::int64_t most_lost() const { return most_lost_; }

 private:
  // Steps that are done and would have to be done again.
  std::int64_t lost() const {
    const auto done = run_.digests();
    const auto whole = find_checkpoints(run_.checkpoints());
    return (done.empty() ? 0 : done.rbegin()->first) - (whole.empty() ? 0 : whole.front().step);
  }

  const KilledRun& run_;
  std::atomic<int> saves_{0};
  std::atomic<std::size_t> most_in_flight_{0};
  std::atomic<std::int64_t> most_lost_{0};
};

// What is written while training goes on is the state of its step, one at a time, and a crash
// costs one interval at most: training waits for the disk.
TEST(CheckpointFault, OnASlowDiskOneIsInFlightAndEachIsTheStateOfItsStep) {
  constexpr int kSteps = 40, kEvery = 2;
  const auto expected = undisturbed(kSteps, kEvery);
  const KilledRun run(kSteps, kEvery);
  const std::vector<ConfigFlag> all_stay = {{"checkpoint.keep", "1000"}};
  SlowDisk disk(run);
  {
    const WithFileFaults planted(disk);
    ASSERT_EQ(run.train(false, all_stay), 0);
  }
  EXPECT_EQ(disk.most_in_flight(), 1U);
  EXPECT_EQ(disk.saves(), kSteps / kEvery);
  EXPECT_EQ(disk.most_lost(), kEvery);

  const auto saved = run.whole_checkpoints();  // newest first
  EXPECT_EQ(static_cast<int>(saved.size()), disk.saves());
  for (const std::int64_t step : saved) {
    const auto path = run.checkpoints() / checkpoint_name(step);
    EXPECT_EQ(fmt::format("{:016x}", CheckpointReader(path).manifest().run.digest.value_or(0)),
              expected.at(static_cast<int>(step)));
    // Whoever goes on from it takes the steps that followed.
    for (const FoundCheckpoint& newer : find_checkpoints(run.checkpoints())) {
      if (newer.step > step) std::filesystem::remove_all(newer.path);
    }
    EXPECT_EQ(run.train(true, all_stay), 0);
    EXPECT_EQ(run.digests(), expected) << "from step " << step;
  }
}

unsigned seed_of_this_run() {
  const char* given = std::getenv("SLUICE_TEST_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(std::atoi(given))
                                         : static_cast<unsigned>(::getpid());
  std::printf("SLUICE_TEST_SEED=%u repeats this\n", seed);
  return seed;
}

int kills_of_this_run() {
  const char* given = std::getenv("SLUICE_TEST_KILLS");
  return given != nullptr ? std::atoi(given) : kSlow ? 5 : 20;
}

// Killed again and again, whatever it is doing. What is done is not done again: each step has
// one line, as the undisturbed run wrote it.
TEST(CheckpointFault, KilledAtRandomMomentsARunEndsAsIfNothingHadBeen) {
  constexpr int kSteps = 40, kEvery = 4;
  const auto begin = std::chrono::steady_clock::now();
  const auto expected = undisturbed(kSteps, kEvery);
  const std::chrono::duration<double, std::micro> whole = std::chrono::steady_clock::now() - begin;
  std::mt19937 random(seed_of_this_run());
  std::uniform_real_distribution<double> moment(0, 1.1 * whole.count());
  const KilledRun run(kSteps, kEvery);
  const auto expect_as_if_nothing_had_been = [&] {
    EXPECT_EQ(run.digests(), expected);
    EXPECT_TRUE(run.leftovers().empty());
    EXPECT_EQ(run.whole_checkpoints().front(), kSteps);
  };
  for (int kills = 0; kills < kills_of_this_run();) {
    const pid_t child = start_child([&] { return run.train(true); });
    ::usleep(static_cast<useconds_t>(moment(random)));
    ::kill(child, SIGKILL);
    const int status = end_of(child);
    if (status == 0) {
      expect_as_if_nothing_had_been();
      run.clear();
      continue;
    }
    ASSERT_EQ(status, -SIGKILL);
    ++kills;
    EXPECT_NO_THROW(run.whole_checkpoints());
  }
  ASSERT_EQ(in_child([&] { return run.train(true); }), 0);
  expect_as_if_nothing_had_been();
}

TEST(CheckpointFault, ASecondSignalOfAnotherKindChangesNothing) {
  const KilledRun run(100'000'000, 50);
  const pid_t child = start_child([&] { return run.train(false); });
  while (run.digests().size() < 5) ::usleep(2000);
  ::kill(child, SIGTERM);
  ::usleep(1000);
  ::kill(child, SIGTERM);
  ::kill(child, SIGUSR1);
  EXPECT_EQ(end_of(child), 75);
  const auto told = run.digests();
  EXPECT_EQ(run.whole_checkpoints().front(), told.rbegin()->first);
  EXPECT_TRUE(run.leftovers().empty());
}

TEST(CheckpointFault, FilesAreAsPrivateAsTheUmaskSays) {
  const KilledRun run(2, 1);
  EXPECT_EQ(in_child([&] {
              ::umask(077);
              return run.train(false);
            }),
            0);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run.run_dir())) {
    const auto mode = std::filesystem::status(entry.path()).permissions();
    EXPECT_EQ(mode & std::filesystem::perms(077), std::filesystem::perms::none) << entry.path();
  }
}

}  // namespace
}  // namespace sluice

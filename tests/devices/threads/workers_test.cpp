// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "devices/base/error.h"

namespace sluice {
namespace {

TEST(Workers, RunEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 4, 8}) {
    Workers workers(threads);
    std::vector<std::atomic<int>> runs(1000);
    workers.for_each(1000, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const std::atomic<int>& r : runs) EXPECT_EQ(r.load(), 1);
  }
}

TEST(Workers, RunNothingForAnEmptyLoop) {
  Workers workers(2);
  workers.for_each(0, [](std::int64_t) { FAIL(); });
}

// The bodies wait for each other, so the loop ends only when eight threads run at once.
TEST(Workers, EightThreadsReallyRunOnFewerCores) {
  Workers workers(8);
  std::atomic<int> there{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  workers.for_each(8, [&](std::int64_t) {
    ++there;
    while (there < 8 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  });
  EXPECT_EQ(there, 8);
  EXPECT_EQ(workers.threads_seen(), 8);
}

TEST(Workers, TwoSetsRunAtOnceWithAllTheirThreads) {
  Workers left(4);
  Workers right(4);
  std::atomic<int> there{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto meet = [&](std::int64_t) {
    ++there;
    while (there < 8 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  };
  std::thread other([&] { left.for_each(4, meet); });
  right.for_each(4, meet);
  other.join();
  EXPECT_EQ(there, 8);
}

TEST(Workers, ThatShareTheirCoresTakeTurns) {
  Workers left(3, {}, Workers::Cores::kShared);
  Workers right(3, {}, Workers::Cores::kShared);
  std::atomic<int> runs{0}, in_left{0}, in_right{0};
  std::atomic<bool> together{false};
  const auto loops = [&](Workers& workers, std::atomic<int>& mine, const std::atomic<int>& its) {
    for (int loop = 0; loop < 200; ++loop) {
      workers.for_each(7, [&](std::int64_t) {
        ++mine;
        std::this_thread::yield();
        if (its > 0) together = true;
        ++runs;
        --mine;
      });
    }
  };
  std::thread other([&] { loops(left, in_left, in_right); });
  loops(right, in_right, in_left);
  other.join();
  EXPECT_EQ(runs, 2 * 200 * 7);
#ifndef SLUICE_SANITIZE_thread  // workers_tbb.cpp says why not there
  EXPECT_FALSE(together);
#endif
}

#ifdef SLUICE_SANITIZE_thread
// What the tsan preset is for: a race in the body of a loop is seen. Volatile, so that the loop
// stays a thousand accesses: one that meets the other thread's in the same instant is missed.
TEST(WorkersDeathTest, ARaceIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Workers workers(2);
        std::atomic<int> there{0};
        volatile int unguarded = 0;
        workers.for_each(2, [&](std::int64_t) {
          ++there;
          while (there < 2) std::this_thread::yield();
          for (int i = 0; i < 1000; ++i) unguarded = unguarded + 1;
        });
      },
      "data race");
}
#endif

TEST(Workers, AMusterEndsWhenAllThreadsHaveRun) {
  Workers workers(8);
  workers.muster(Seconds{20});
  EXPECT_GE(workers.threads_seen(), 8);
}

TEST(Workers, AMusterSaysHowManyThreadsRan) {
  Workers workers(8);  // more than come within so short a time
  try {
    workers.muster(Seconds{1e-9});
    FAIL() << "a muster that nobody waited for";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_THAT(error.what(), testing::MatchesRegex("8 threads were asked for, [0-9]+ ran"));
  }
}

TEST(Workers, OneThreadIsTheCaller) {
  Workers workers(1);
  const std::thread::id caller = std::this_thread::get_id();
  workers.for_each(10, [&](std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
  EXPECT_EQ(workers.threads_seen(), 1);
}

TEST(Workers, FailureOfABodyReachesTheCallerAndTheNextLoopRuns) {
  Workers workers(3);
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(workers.for_each(100,
                                  [](std::int64_t i) {
                                    if (i == 42) throw std::runtime_error("body");
                                  }),
                 std::runtime_error);
    std::atomic<int> runs{0};
    workers.for_each(100, [&](std::int64_t) { ++runs; });
    EXPECT_EQ(runs, 100);
  }
}

TEST(Workers, SumsSeeWhatBodiesWrote) {
  Workers workers(4);
  std::vector<int> values(256);  // plain: ThreadSanitizer sees a missing edge
  for (int round = 0; round < 50; ++round) {
    workers.for_each(256, [&](std::int64_t i) { values[static_cast<std::size_t>(i)] += 1; });
    for (const int value : values) ASSERT_EQ(value, round + 1);
  }
}

TEST(Workers, AreBoundToTheCpusGiven) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof(mine), &mine), 0);
  int first = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(first), &mine)) ++first;

  Workers workers(2, {first});
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> there{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  workers.for_each(2, [&](std::int64_t) {
    ++there;
    while (there < 2 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    if (std::this_thread::get_id() == caller) return;
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
    EXPECT_EQ(CPU_COUNT(&set), 1);
    EXPECT_TRUE(CPU_ISSET(static_cast<std::size_t>(first), &set));
  });
  EXPECT_EQ(there, 2);
}

}  // namespace
}  // namespace sluice

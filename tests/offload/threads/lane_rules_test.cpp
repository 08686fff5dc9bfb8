// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The rules of lanes, stages and derived edges, on programs at random and real threads.

#include <gtest/gtest.h>

#include "tests/support/random_program.h"

namespace sluice {
namespace {

TEST(LaneRules, AnyProgramLeavesTheBytesOfItsSerialRun) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const RandomProgram random(seed);
    const StorageBackend io = seed % 2 == 0 ? StorageBackend::kAuto : StorageBackend::kThreads;

    const RandomRun serial = run_random(random, {.serial = true, .io = io});
    const RandomRun overlapped = run_random(random, {.io = io});

    ASSERT_EQ(overlapped.heard, serial.heard) << "seed " << seed;
    ASSERT_TRUE(overlapped.bytes == serial.bytes) << "seed " << seed;
  }
}

TEST(LaneRules, SoItDoesWhereTransfersEndInAnotherOrder) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const RandomProgram random(seed);
    ASSERT_TRUE(run_random(random, {.unordered_storage = true}) ==
                run_random(random, {.serial = true}))
        << "seed " << seed;
  }
}

// No step at all, one step, two: the first and last iterations are mostly masked.
TEST(LaneRules, ShortRunsLeaveThemToo) {
  for (unsigned seed = 1000; seed < 1040; ++seed) {
    const RandomProgram random(seed);
    for (const int steps : {0, 1, 2}) {
      const RandomRun serial = run_random(random, {.serial = true, .steps = steps});
      ASSERT_TRUE(run_random(random, {.steps = steps}) == serial)
          << "seed " << seed << ", " << steps << " steps";
    }
  }
}

}  // namespace
}  // namespace sluice

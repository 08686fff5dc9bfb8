// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/check.h"

#include <gtest/gtest.h>

#include "offload/builder.h"
#include "offload/dependencies.h"
#include "offload/memory_map.h"
#include "offload/operands.h"
#include "offload/simulate.h"
#include "tests/support/matrix_workload.h"

namespace sluice {
namespace {

TEST(Check, EveryRandomPlacementComputesWhatTheResidentOneDoes) {
  for (unsigned seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    const Workload workload = matrix_workload(random_options(random));
    const CostModel costs(test_machine(), workload);
    const Placement placement = random_placement(workload, random);
    const Program program = build_training(workload, placement, costs);
    const Program resident =
        build_training(workload, resident_placement(workload, placement.deferred), costs);

    const auto difference = check(workload, program, run_on_symbols(workload, resident, 3), 3);

    ASSERT_EQ(difference, std::nullopt) << "seed " << seed << ": " << *difference;
  }
}

TEST(Check, EveryRandomProgramRunsToItsEndInSimulation) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const Workload workload = matrix_workload(random_options(random));
    const CostModel costs(test_machine(), workload);
    const Program program = build_training(workload, random_placement(workload, random), costs);
    const auto waits = derive_waits(program);

    const double overlapped = simulate(program, waits, costs).step_seconds;
    const double serial = simulate(program, waits, costs, {.serial = true}).step_seconds;

    ASSERT_GT(overlapped, 0) << "seed " << seed;
    ASSERT_GE(serial, 0.999 * overlapped) << "seed " << seed;
  }
}

// The mistake that derived edges cannot see.
TEST(Check, NoticesADrainThatStandsBeforeTheLastSum) {
  const Workload workload = matrix_workload({});
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, true);
  placement.gradients.assign(workload.flats.size(), Tier::kHost);
  placement.adam_on_device.assign(workload.flats.size(), false);
  placement.wave = 4;
  Program program = build_training(workload, placement, costs);
  const SymbolicRun reference = run_on_symbols(
      workload, build_training(workload, resident_placement(workload, true), costs), 2);
  ASSERT_EQ(check(workload, program, reference), std::nullopt);

  auto& operations = program.operations;
  const auto drain = std::find_if(operations.begin(), operations.end(), [](const Operation& o) {
    return o.lane == Lane::kDeviceToHost && o.role == Role::kGradient && o.stage == 0;
  });
  const auto backward =
      std::find_if(std::make_reverse_iterator(drain), operations.rend(), [&](const Operation& o) {
        return o.kind == OperationKind::kBackward &&
               workload.layers[static_cast<std::size_t>(o.layer)].flats[0] == drain->flat;
      });
  std::rotate(backward.base() - 1, drain, drain + 1);

  EXPECT_NE(check(workload, program, reference), std::nullopt);
}

TEST(Check, NoticesMemoryThatIsSharedWhileInUse) {
  const Workload workload = matrix_workload({});
  const CostModel costs(test_machine(), workload);
  Program program = build_training(workload, resident_placement(workload, true), costs);
  const SymbolicRun reference = run_on_symbols(workload, program, 2);

  // The state of one flat parameter is laid over that of another.
  program.buffers[static_cast<std::size_t>(program.homes[1].state)].offset =
      program.buffers[static_cast<std::size_t>(program.homes[2].state)].offset;

  EXPECT_NE(check(workload, program, reference), std::nullopt);
}

}  // namespace
}  // namespace sluice

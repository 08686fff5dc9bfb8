// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include "offload/builder.h"
#include "offload/check.h"
#include "offload/dependencies.h"
#include "offload/operands.h"
#include "offload/simulate.h"
#include "tests/support/matrix_workload.h"

namespace sluice {
namespace {

struct Forecast {
  double step = 0;
  SaveForecast save;
};

Forecast forecast(const Workload& workload, const Placement& placement, const Machine& machine,
                  int warm_up = 2) {
  const CostModel costs(machine, workload);
  const Program program = build_training(workload, placement, costs);
  const auto waits = derive_waits(program);
  const double step = simulate(program, waits, costs, {.warm_up = warm_up}).step_seconds;
  return {step, simulate_save(program, waits, costs, step)};
}

TEST(SimulateSave, StepsWithoutASaveTakeNoLonger) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const Workload workload = matrix_workload({});
    Placement placement = random_placement(workload, random);
    // What is on the device alone needs room on the host, and room moves what is beside it.
    placement.states.assign(workload.flats.size(), Tier::kHost);
    placement.save = false;
    const Forecast plain = forecast(workload, placement, test_machine());
    placement.save = true;
    const Forecast saves = forecast(workload, placement, test_machine());
    EXPECT_NEAR(saves.step, plain.step, 1e-9) << "seed " << seed;
    EXPECT_EQ(plain.save.size.value, 0);
    EXPECT_GT(saves.save.size.value, 0);
  }
}

// The one before the first step of a forecast, too, is not saved.
TEST(SimulateSave, NorDoTheyWhereASaveWouldTakeManyOfThem) {
  const Workload workload = matrix_workload({});
  Placement placement = resident_placement(workload, /*deferred=*/true);
  placement.states.assign(workload.flats.size(), Tier::kHost);
  Machine machine = test_machine();
  machine.storage_write = {1e5};
  for (const int warm_up : {1, 2}) {
    placement.save = false;
    const double plain = forecast(workload, placement, machine, warm_up).step;
    placement.save = true;
    EXPECT_NEAR(forecast(workload, placement, machine, warm_up).step, plain, 1e-9);
  }
}

TEST(SimulateSave, ASlowDriveHoldsTheStepsUpByWhatDoesNotFitBesideThem) {
  const Workload workload = matrix_workload({.width = 128});
  Placement placement = resident_placement(workload, true);
  placement.states.assign(workload.flats.size(), Tier::kHost);
  placement.save = true;
  Machine machine = test_machine();
  machine.storage_latency = Seconds{0};
  machine.storage_write = {1e10};
  const Forecast quick = forecast(workload, placement, machine);
  EXPECT_LT(quick.save.pause_seconds, 0.2 * quick.step);
  machine.storage_write = {1e6};
  const Forecast slow = forecast(workload, placement, machine);
  const double write = static_cast<double>(slow.save.size.value) / 1e6;
  EXPECT_GE(slow.save.seconds, 0.99 * write);
  EXPECT_GT(slow.save.pause_seconds, write - 2 * slow.step);
  EXPECT_LE(slow.save.pause_seconds, 1.01 * write);
}

TEST(CheckSaves, AWrongOrderIsFound) {
  const Workload workload = matrix_workload({});
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, true);
  placement.states.assign(workload.flats.size(), Tier::kStorage);
  placement.adam_on_device.assign(workload.flats.size(), false);
  placement.segment_elements = 2048;
  placement.ring_slots = 3;
  placement.save = true;
  const Program right = build_training(workload, placement, costs);
  EXPECT_EQ(run_on_symbols(workload, right, 2).fault, "");
  int moved = 0;
  for (std::size_t i = 0; i < right.operations.size(); ++i) {
    if (right.operations[i].kind != OperationKind::kSave) continue;
    Program wrong = right;  // the save stands at the end, when its slot holds another segment
    const Operation save = wrong.operations[i];
    wrong.operations.erase(wrong.operations.begin() + static_cast<std::ptrdiff_t>(i));
    wrong.operations.push_back(save);
    if (!run_on_symbols(workload, wrong, 2).fault.empty()) ++moved;
  }
  EXPECT_GT(moved, 0);
}

TEST(CheckSaves, AForgottenSegmentIsFound) {
  const Workload workload = matrix_workload({});
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, false);
  placement.save = true;
  Program program = build_training(workload, placement, costs);
  const auto save = std::find_if(
      program.operations.begin(), program.operations.end(),
      [](const Operation& operation) { return operation.kind == OperationKind::kSave; });
  ASSERT_NE(save, program.operations.end());
  program.accesses[save->first_access + SaveOperands::kState].size -= Bytes{4096};
  EXPECT_NE(run_on_symbols(workload, program, 2).fault.find("not all"), std::string::npos);
}

}  // namespace
}  // namespace sluice

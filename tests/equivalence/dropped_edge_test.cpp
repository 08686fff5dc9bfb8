// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What derived edges are for. Not among the threaded tests: the race is real, and
// ThreadSanitizer says so.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/matrix_layers.h"
#include "tests/support/random_program.h"
#include "tests/support/run_program.h"
#include "tests/support/saved_states.h"

namespace sluice {
namespace {

// Weights are fetched while their update is held up: without its edge the fetch
// runs ahead, and the run is not the same any more.
TEST(Edges, ADroppedOneChangesTheState) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const auto layers = matrix_layers(options);
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, true);
  placement.weights.assign(workload.flats.size(), Tier::kHost);
  placement.adam_on_device.assign(workload.flats.size(), false);
  placement.states.assign(workload.flats.size(), Tier::kHost);
  placement.gradients.assign(workload.flats.size(), Tier::kHost);
  const Program program = build_training(workload, placement, costs);
  const auto slow_update = [&](std::size_t operation, std::int64_t) {
    if (program.operations[operation].kind == OperationKind::kUpdate) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  const RunResult right = run_training(workload, program, layers, 40, {.before = slow_update});

  const RunResult wrong =
      run_training(workload, program, layers, 40,
                   {.change_waits =
                        [](std::vector<Waits>& waits, const Program& p) {
                          for (std::size_t i = 0; i < waits.size(); ++i) {
                            const Operation& o = p.operations[i];
                            if (o.lane == Lane::kHostToDevice && o.role == Role::kWeight) {
                              waits[i].latest[index_of(Lane::kHostCompute)] = Waits::kNone;
                            }
                          }
                        },
                    .before = slow_update});

  EXPECT_NE(right.state, wrong.state);
}

// The next update is the first to write what a slow save still reads; that the report behind it
// waits for all of the save would be too late.
TEST(Edges, ADroppedOneOfASaveChangesWhatIsSaved) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const auto layers = matrix_layers(options);
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, /*deferred=*/false);
  placement.states.assign(workload.flats.size(), Tier::kHost);
  placement.adam_on_device.assign(workload.flats.size(), false);
  placement.save = true;
  const Program program = build_training(workload, placement, costs);
  const auto slow_save = [&](std::size_t operation, std::int64_t) {
    if (program.operations[operation].kind == OperationKind::kSave) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  const auto drop = [](std::vector<Waits>& waits, const Program& p) {
    for (std::size_t i = 0; i < waits.size(); ++i) {
      if (p.operations[i].kind != OperationKind::kUpdate) continue;
      waits[i].latest[index_of(Lane::kSave)] = Waits::kNone;
    }
  };
  const auto saved = [&](const RunOptions& how) {
    SavedStates states(workload, [](std::int64_t step) { return step == 2; });
    RunOptions run = how;
    run.steps = 5;
    run.sink = &states;
    run_training(workload, program, layers, 40, run);
    return states.bytes();
  };
  const auto right = saved({.serial = true});
  EXPECT_EQ(saved({.before = slow_save}), right);

  EXPECT_NE(saved({.change_waits = drop, .before = slow_save}), right);
}

// What tests/offload/threads/lane_rules_test.cpp finds equal is so because of the edges:
// how many of 40 random programs leave other bytes where some are dropped.
int changed_without(const std::function<void(std::vector<Waits>&, const Program&)>& change_waits) {
  int changed = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const RandomProgram random(seed);
    const RandomRun serial = run_random(random, {.serial = true});
    if (!(run_random(random, {.unordered_storage = true, .change_waits = change_waits}) ==
          serial)) {
      ++changed;
    }
  }
  return changed;
}

TEST(Edges, WithoutThemRandomProgramsLeaveOtherBytes) {
  EXPECT_GT(changed_without([](std::vector<Waits>& waits, const Program&) {
              waits.assign(waits.size(), Waits{});
            }),
            20);
}

// A storage lane completes out of order, so its own order is not enough.
TEST(Edges, WithoutThoseInsideAStorageLaneTheyDoToo) {
  EXPECT_GT(changed_without([](std::vector<Waits>& waits, const Program& program) {
              for (std::size_t i = 0; i < waits.size(); ++i) {
                const Lane own = program.operations[i].lane;
                if (has_depth(own)) waits[i].latest[index_of(own)] = Waits::kNone;
              }
            }),
            10);
}

// An edge into the next step is one like any other.
TEST(Edges, WithoutThoseIntoTheNextStepTheyDoToo) {
  EXPECT_GT(changed_without([](std::vector<Waits>& waits, const Program&) {
              for (Waits& wait : waits) {
                for (std::int32_t& latest : wait.latest) {
                  if (latest < 0) latest = Waits::kNone;
                }
              }
            }),
            20);
}

}  // namespace
}  // namespace sluice

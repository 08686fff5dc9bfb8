// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What derived edges are for. Not among the threaded tests: the race is real, and
// ThreadSanitizer says so.

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/matrix_layers.h"
#include "tests/support/run_program.h"

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

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The least time any schedule of a Program can take. With F, B the compute time of
// forward and backward, D and U the bytes down and up in each, A the busiest of
// Adam, and of reading and of writing its state on storage:
//   T >= max(F, D_F / down, U_F / up) + max(B, D_B / down, U_B / up)
//   T >= every lane's total
//   T >= B + max(F, A) for deferred updates, max(F + B, A) for updates in backward;
//        with several waves, of which the first goes forward for F1 and the last backward
//        for B1, T >= B + F - W + max(W, A) where W = F1, or F1 + B1: updates begin with the
//        last wave's backward and end with the next step's first forward
//   T >= core-seconds / cores where compute and Adam share cores

#include "offload/cost_model.h"
#include "offload/program.h"

namespace sluice {

struct PhaseTimes {
  double compute = 0, down = 0, up = 0;  // seconds
};

struct ProgramTimes {
  PhaseTimes forward, backward;
  double first_forward = 0;                // compute time of the first wave's forward
  double last_backward = 0;                // and of the last wave's backward
  std::array<double, kLaneCount> lanes{};  // seconds of work per lane
  double adam = 0;                         // of updates on the host
  double state_read = 0, state_write = 0;  // of the storage lanes, for Adam
};
ProgramTimes times_of(const Program& program, const CostModel& costs);

// And the lane whose work makes it what it is.
struct PhaseBound {
  double seconds = 0;
  Lane lane = Lane::kCompute;
};
PhaseBound phase_bound(const ProgramTimes& times, bool deferred, const CostModel& costs);

}  // namespace sluice

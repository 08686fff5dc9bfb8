// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The interpreter that only predicts: lanes run in order, operations wait as they
// would, and what runs at the same time shares cores, memory and drive.

#include <vector>

#include "offload/cost_model.h"
#include "offload/dependencies.h"
#include "offload/timeline.h"

namespace sluice {

struct SimulateOptions {
  bool serial = false;  // one operation at a time, in program order
  int warm_up = 2;      // steps before the one that is returned
};

// A step in steady state, whose state is not saved. Times are from the start of that step's first
// operation of the compute lane's first iteration; spans may begin before 0 or end late.
Timeline simulate(const Program& program, const std::vector<Waits>& waits, const CostModel& costs,
                  const SimulateOptions& options = {});

// What saving the state of one step costs.
struct SaveForecast {
  Bytes size;                // of masters and moments
  double seconds = 0;        // from the first save operation's start to the last one's end
  double pause_seconds = 0;  // by which the steps meanwhile are longer
};

// `step_seconds`: of a step whose state is not saved. Zeros for a Program without saves.
SaveForecast simulate_save(const Program& program, const std::vector<Waits>& waits,
                           const CostModel& costs, double step_seconds, bool serial = false);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Start and end of every operation of a step: predicted by simulate, measured by
// execute. One type, so that the two are compared operation by operation.

#include <array>
#include <vector>

#include "offload/program.h"

namespace sluice {

struct Span {
  double start = 0, end = 0;  // seconds
};

struct LaneUse {
  double busy_seconds = 0;
  Bytes bytes;
};

struct Timeline {
  std::vector<Span> spans;  // one per operation of the Program; {0, 0} where masked
  double step_seconds = 0;  // from one step's end to the next
};

// Seconds of work and bytes moved per lane.
std::array<LaneUse, kLaneCount> lane_use(const Program& program, const Timeline& timeline);

}  // namespace sluice

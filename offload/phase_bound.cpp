// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/phase_bound.h"

#include <algorithm>

namespace sluice {

ProgramTimes times_of(const Program& program, const CostModel& costs) {
  ProgramTimes times;
  PhaseTimes* phase = &times.forward;
  bool first = true;
  for (const Operation& operation : program.operations) {
    if (operation.kind == OperationKind::kForward) phase = &times.forward;
    if (operation.kind == OperationKind::kRecompute || operation.kind == OperationKind::kBackward) {
      phase = &times.backward;
      first = false;
    }
    if (operation.for_save) continue;  // no part of an ordinary step
    const double seconds = costs.seconds(program, operation);
    times.lanes[index_of(operation.lane)] += seconds;
    switch (operation.lane) {
      case Lane::kCompute:
        phase->compute += seconds;
        if (first) times.first_forward += seconds;
        break;
      case Lane::kHostToDevice:
        phase->down += seconds;
        break;
      case Lane::kDeviceToHost:
        phase->up += seconds;
        break;
      case Lane::kHostCompute:
        if (operation.kind == OperationKind::kUpdate) times.adam += seconds;
        break;
      case Lane::kStorageRead:
        if (operation.role == Role::kState) times.state_read += seconds;
        break;
      case Lane::kStorageWrite:
        if (operation.role == Role::kState) times.state_write += seconds;
        break;
      case Lane::kSave:
        break;
    }
  }
  return times;
}

double phase_bound(const ProgramTimes& times, bool deferred, const CostModel& costs) {
  const auto longest = [](const PhaseTimes& p) { return std::max({p.compute, p.down, p.up}); };
  const double a = std::max({times.adam, times.state_read, times.state_write});
  const double f = times.forward.compute;
  const double b = times.backward.compute;
  double bound = longest(times.forward) + longest(times.backward);
  bound = std::max(bound, *std::max_element(times.lanes.begin(), times.lanes.end()));
  bound = std::max(bound, deferred ? b + f - times.first_forward + std::max(times.first_forward, a)
                                   : std::max(f + b, a));
  if (costs.machine().device == "host") bound = std::max(bound, f + b + times.adam);
  return bound;
}

}  // namespace sluice

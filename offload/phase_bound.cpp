// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/phase_bound.h"

namespace sluice {

ProgramTimes times_of(const Program& program, const CostModel& costs) {
  ProgramTimes times;
  PhaseTimes* phase = &times.forward;
  bool first = true;
  for (const Operation& operation : program.operations) {
    if (operation.kind == OperationKind::kForward) {
      phase = &times.forward;
      times.last_backward = 0;
    }
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
        if (phase == &times.backward) times.last_backward += seconds;
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

PhaseBound phase_bound(const ProgramTimes& times, bool deferred, const CostModel& costs) {
  const auto longer = [](PhaseBound a, PhaseBound b) {
    return b.seconds > a.seconds * (1 + 1e-9) ? b : a;
  };
  const auto longest = [&](const PhaseTimes& p) {
    return longer(longer({p.compute, Lane::kCompute}, {p.down, Lane::kHostToDevice}),
                  {p.up, Lane::kDeviceToHost});
  };
  const PhaseBound a =
      longer(longer({times.adam, Lane::kHostCompute}, {times.state_read, Lane::kStorageRead}),
             {times.state_write, Lane::kStorageWrite});
  const double f = times.forward.compute;
  const double b = times.backward.compute;
  const PhaseBound forward = longest(times.forward), backward = longest(times.backward);
  PhaseBound bound{forward.seconds + backward.seconds,
                   backward.lane == Lane::kCompute ? forward.lane : backward.lane};
  for (const Lane lane : kLanes) bound = longer(bound, {times.lanes[index_of(lane)], lane});
  const double window = times.first_forward + (deferred ? 0 : times.last_backward);
  const PhaseBound beside = longer({window, Lane::kCompute}, a);
  bound = longer(bound, {f + b - window + beside.seconds, beside.lane});
  if (costs.machine().device == "host") {
    bound = longer(bound, {f + b + times.adam, Lane::kCompute});
  }
  return bound;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/plan.h"

#include <algorithm>

#include "devices/base/error.h"
#include "offload/builder.h"
#include "offload/check.h"
#include "offload/phase_bound.h"
#include "offload/simulate.h"

namespace sluice {
namespace {

void fill_tiers(Plan& plan, const TierLimits& limits) {
  for (const Tier tier : kTiers) {
    const std::size_t i = index_of(tier);
    const bool training = plan.program.needs(tier) >= plan.evaluation.needs(tier);
    const Program& fuller = training ? plan.program : plan.evaluation;
    plan.tiers[i] = {.capacity = limits.capacity[i],
                     .source = limits.source[i],
                     .peak = fuller.needs(tier),
                     .by_role = fuller.peak_by_role[i]};
    plan.tiers[i].by_role[index_of(Role::kWorkspace)] += fuller.needs(tier) - fuller.extent[i];
  }
}

// A wrong serial order would be a bug of the builder: no plan leaves with one.
void check_symbols(const Plan& plan, const CostModel& costs) {
  const Program resident = build_training(
      plan.workload, resident_placement(plan.workload, plan.placement.deferred), costs);
  const auto difference =
      check(plan.workload, plan.program, run_on_symbols(plan.workload, resident, 2), 2);
  if (difference) {
    throw Error(ErrorKind::kInternal, "the planner made a wrong program: " + *difference);
  }
}

}  // namespace

Plan build_plan(const Model& model, const Placement& placement, const TierLimits& limits,
                const Machine& machine, bool serial) {
  Plan plan;
  plan.workload = model.workload(placement.sequences);
  plan.placement = placement;
  const CostModel costs(machine, plan.workload);
  plan.program = build_training(plan.workload, placement, costs);
  plan.evaluation = build_forward(plan.workload, placement, true, ForwardOutput::kLosses);
  plan.waits = derive_waits(plan.program);
  plan.evaluation_waits = derive_waits(plan.evaluation);
  check_symbols(plan, costs);
  fill_tiers(plan, limits);
  plan.forecast = simulate(plan.program, plan.waits, costs, {.serial = serial});
  plan.save = simulate_save(plan.program, plan.waits, costs, plan.forecast.step_seconds, serial);
  const ProgramTimes times = times_of(plan.program, costs);
  const PhaseBound bound = phase_bound(times, placement.deferred, costs);
  plan.phase_bound_seconds = bound.seconds;
  plan.bottleneck = bound.lane;
  plan.overlap_bound_seconds = times.lanes[index_of(Lane::kCompute)];
  plan.storage_written_per_step =
      lane_use(plan.program, plan.forecast)[index_of(Lane::kStorageWrite)].bytes;
  return plan;
}

}  // namespace sluice

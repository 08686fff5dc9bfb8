// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the planner answers: a Plan that can be executed, or why there is none.

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "offload/cost_model.h"
#include "offload/dependencies.h"
#include "offload/placement.h"
#include "offload/program.h"
#include "offload/simulate.h"
#include "offload/timeline.h"
#include "offload/workload.h"

namespace sluice {

// What a run may use of each tier, and who says so.
struct TierLimits {
  std::array<Bytes, kTierCount> capacity;
  std::array<std::string, kTierCount> source;  // "limits.device", "MemTotal", "free disk of /x"
  // Host device: its memory and the host's are the same RAM; both together stay
  // below this. Nothing: two memories.
  std::optional<Bytes> shared_ram;
  std::string shared_source;
};

// What a run config fixes; everything else is the planner's choice.
struct PlanRequest {
  std::vector<std::optional<Tier>> weights, gradients, states;  // per flat parameter; or empty
  std::vector<std::optional<Tier>> activations;                 // per layer; or empty
  std::optional<bool> adam_on_device;
  std::optional<bool> recompute;
  std::optional<bool> deferred;
  std::optional<int> wave;  // 0: all micro-batches of the step
  std::optional<int> fetch_ahead, drain_late;
  std::optional<Bytes> segment;           // of optimizer state
  std::optional<std::int64_t> sequences;  // of a micro-batch
  std::int64_t global_batch = 1;          // sequences of a step
  int groups = 1;
  bool clips = true;  // the global norm clips: updates are deferred
  bool digest = false;
  bool save = false;    // room and operations to save the state while steps go on
  bool serial = false;  // forecast for one operation at a time

  // Fixes a home, or how the step is cut.
  bool fixes_placement() const {
    const auto any = [](const std::vector<std::optional<Tier>>& homes) {
      return std::any_of(homes.begin(), homes.end(), [](const auto& home) { return bool(home); });
    };
    return any(weights) || any(gradients) || any(states) || any(activations) || adam_on_device ||
           recompute || wave;
  }
  // The same with all that left to the planner.
  PlanRequest with_free_placement() const {
    PlanRequest free = *this;
    free.weights.clear();
    free.gradients.clear();
    free.states.clear();
    free.activations.clear();
    free.adam_on_device = std::nullopt;
    free.recompute = std::nullopt;
    free.wave = std::nullopt;
    return free;
  }
};

struct TierUse {
  Bytes capacity;
  std::string source;
  Bytes peak;  // bytes of the arena or swap file that the memory map uses
  std::array<Bytes, kRoleCount> by_role;  // at the fullest moment
};

struct Plan {
  Workload workload;
  Placement placement;
  Program program;     // a training step
  Program evaluation;  // a pass without gradients, in the same memory
  std::vector<Waits> waits, evaluation_waits;
  std::array<TierUse, kTierCount> tiers;  // peak: the larger of both programs
  Timeline forecast;
  double phase_bound_seconds = 0;    // no schedule of this placement is faster
  double overlap_bound_seconds = 0;  // the compute lane alone
  Lane bottleneck = Lane::kCompute;
  double clip_cost_seconds =
      0;  // step minus the same step without clipping; 0 where it does not clip
  std::vector<std::string> advice;  // what would make it faster, with figures
  Bytes storage_written_per_step;
  SaveForecast save;
};

struct Remedy {
  std::string change;          // what to type
  Bytes missing;               // still missing with it; 0: it fits
  double step_seconds = 0;     // forecast, if it fits: a longer search may find less
  bool gains_nothing = false;  // more of what a smaller one gives as well
};

struct Infeasible {
  Tier tier = Tier::kDevice;
  Bytes needed, capacity;
  std::string source;            // who set the limit
  std::vector<Remedy> remedies;  // at least three

  Bytes missing() const { return needed - capacity; }
};

using PlanResult = std::variant<Plan, Infeasible>;

// Searches placements and builds the best one in full. Deterministic.
PlanResult make_plan(const Model& model, const PlanRequest& request, const TierLimits& limits,
                     const Machine& machine);

// The Plan of one given placement, whatever the limits are.
Plan build_plan(const Model& model, const Placement& placement, const TierLimits& limits,
                const Machine& machine, bool serial = false);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The two halves of the search: which combinations of knobs to try, in which
// order; and how much of the model fits where under one combination.

#include <optional>
#include <tuple>
#include <vector>

#include "offload/plan.h"

namespace sluice {

// The knobs that are enumerated; homes follow from them and from the limits.
struct Combination {
  std::int64_t sequences = 1;
  int wave = 1;
  bool recompute = false;
  Tier activations = Tier::kDevice;
  bool deferred = true;
  Tier gradients = Tier::kHost;  // of flat parameters that are not resident as a whole
  // What the device's memory is spent on: weights alone, weights and then whole flat
  // parameters with their state, or those first.
  enum class Residency : std::uint8_t { kWeights, kWeightsThenState, kStateFirst };
  Residency residency = Residency::kWeightsThenState;
  // Which comes up from storage first where the host has room. Sums travel once per wave, state
  // once per step, but while deferred updates wait for it less is done.
  bool state_before_gradients = false;
  bool stream_state = false;  // Adam on the device, wherever the state lives
  bool lean = false;          // least memory for slots
  bool variant = false;       // of a structure that the first of its kind stands for
  double bound = 0;           // seconds that no placement of it can beat

  // All decisions, without the bound.
  auto decisions() const {
    return std::tuple(sequences, wave, recompute, activations, deferred, gradients, residency,
                      state_before_gradients, stream_state, lean);
  }
};

// What place.wave and place.segment stand for: micro-batches of a wave (0 asks for
// all), parameters of a segment.
int wave_of(int asked, int micro_batches);
std::int64_t segment_elements_of(Bytes asked, DType moments);

// Divisors of the global batch that leave micro-batches for every group, the largest first,
// since a large micro-batch computes fastest.
std::vector<std::int64_t> micro_batch_sizes(const PlanRequest& request);

// All combinations that the request allows, most promising first.
std::vector<Combination> combinations(const Model& model, const PlanRequest& request,
                                      const TierLimits& limits, const Machine& machine);

// The same but for one decision, as far as the request leaves it open: the next larger or smaller
// micro-batch or wave, the memory for slots, what else it is spent on. Without bounds.
std::vector<Combination> neighbours(const Combination& combination, const PlanRequest& request,
                                    const Machine& machine);

struct Fit {
  Placement placement;
  Program program;
  // Bytes over the limit, by tier, of the leanest homes tried; all 0: it fits.
  std::array<Bytes, kTierCount> missing;
  bool fits() const {
    return missing[0].value <= 0 && missing[1].value <= 0 && missing[2].value <= 0;
  }
  std::int64_t operations_built = 0;  // the work this took
};

// Starts with everything in the lowest tier and moves up what the limits allow:
// weights and whole flat parameters to the device, state to the host, in the order
// of forward.
Fit fill(const Workload& workload, const Combination& combination, const PlanRequest& request,
         const TierLimits& limits, const CostModel& costs);

// Whether it may: false is certain, and soon known.
bool may_fit(const Workload& workload, const Combination& combination, const PlanRequest& request,
             const TierLimits& limits, const CostModel& costs);

// Bytes over each tier's limit.
std::array<Bytes, kTierCount> missing_bytes(const Program& program, const TierLimits& limits);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Why nothing fits, and what would.

#include "offload/placement_search.h"
#include "offload/plan.h"

namespace sluice {

// Operations that may be built and simulated for one change of what was asked for.
inline constexpr std::int64_t kRemedyBudget = 75'000;

struct SearchResult {
  std::optional<Placement> placement;  // the best one that fits
  double step_seconds = 0;
  std::int64_t operations = 0;  // of its Program
  // Where none fits: the one that is short of the least, and by how much.
  std::optional<Placement> nearest;
  std::array<Bytes, kTierCount> nearest_missing{};
  std::int64_t spent = 0;  // operations built and simulated
};

// `budget`: operations that may be built and simulated.
SearchResult search_placement(const Model& model, const PlanRequest& request,
                              const TierLimits& limits, const Machine& machine,
                              std::int64_t budget);

// Requires that `result` has no placement.
Infeasible explain(const Model& model, const PlanRequest& request, const TierLimits& limits,
                   const Machine& machine, const SearchResult& result);

}  // namespace sluice

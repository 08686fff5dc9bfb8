// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A plan.json run again: the placement in it is built, and everything else it says
// is checked against what was built, so that nothing edited is ignored.

#include <string>

#include "offload/plan.h"

namespace sluice {

struct StoredPlan {
  std::string name;  // of the file, for messages
  std::string text;  // all of it
  std::string workload;
  std::string machine;
  Placement placement;
  std::string hash;  // 16 hex digits
};

// Errors: kConfig, one line with `name` (the file) and the field.
StoredPlan parse_plan(std::string json, const std::string& name);

// The Plan that `stored` describes. Error{kConfig} where it was made for another
// model, machine or version (the hash of the program built here differs), where a
// decision in the file is not the one it was made with, or where `request` fixes a
// choice that the plan made otherwise.
Plan replay_plan(const StoredPlan& stored, const Model& model, const PlanRequest& request,
                 const TierLimits& limits, const Machine& machine);

// The config key of the first choice that `request` fixes and `placement` made
// otherwise; empty if there is none. `workload` is the placement's.
std::string conflicting_key(const PlanRequest& request, const Placement& placement,
                            const Workload& workload);

}  // namespace sluice

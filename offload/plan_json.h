// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// plan.json: decisions, totals and a hash, not the operations themselves.
//
// Format  "sluice-plan", version 1: `workload` (name, parameters, tokens),
//         `machine`, tiers, placements, the decisions as fields of their own and
//         whole under `placement`, forecast, operations, hash (16 hex digits);
//         or infeasible. A plan is replayed by building its placement again, which
//         must give the same hash.

#include <string>

#include "offload/plan.h"

namespace sluice {

std::string to_json(const PlanResult& result, const Machine& machine);

struct StoredPlan {
  std::string workload;  // name
  std::string machine;
  Placement placement;
  std::uint64_t hash = 0;
};

// Errors: kConfig, one line with `name` (the file) and the field.
StoredPlan parse_plan(const std::string& json, const std::string& name);

// The Plan that `stored` describes. Error{kConfig} where it was made for another
// model, machine or version: the hash of the program built here differs.
Plan replay_plan(const StoredPlan& stored, const Model& model, const TierLimits& limits,
                 const Machine& machine, const std::string& name);

// One screen for a person.
std::string describe(const Plan& plan, const Machine& machine);
std::string describe(const Infeasible& infeasible);

}  // namespace sluice

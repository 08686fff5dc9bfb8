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

// hash_of() as plan.json has it: 16 hex digits.
std::string hash_text(const Program& program);

inline constexpr int kPlanVersion = 1;

std::string to_json(const PlanResult& result, const Machine& machine);

// One screen for a person.
std::string describe(const Plan& plan, const Machine& machine);
std::string describe(const Infeasible& infeasible);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// From a run config and a machine to the planner's input.

#include <filesystem>
#include <optional>

#include "devices/machine_file.h"
#include "devices/topology.h"
#include "engine/config/run_config.h"
#include "offload/plan.h"

namespace sluice {

// The machine a plan is for: `file`, else what `probe` cached for this machine,
// else named defaults, with a line that says which. Never measures.
struct ChosenMachine {
  Machine machine;
  bool here = true;  // false: described by a file, limits of this machine do not count
};
ChosenMachine choose_machine(const std::optional<std::filesystem::path>& file,
                             const MachineLimits& limits);

// What the run may use of each tier, and who says so. `storage_folder` is where the
// swap file would be. `may_exceed`: limits above this machine's are taken as they
// are (`plan`); else they are Error{kNoFit}.
TierLimits resolve_limits(const LimitsConfig& config, const MachineLimits& machine_limits,
                          const ChosenMachine& chosen, const std::filesystem::path& storage_folder,
                          bool may_exceed);

// Where a swap file may be. Error{kIo} where `folder` is missing, no folder, not
// writable, or on a file system that lives in RAM.
void check_storage_folder(const std::filesystem::path& folder);

// What the config fixes of a plan. `workload` at any micro-batch size.
PlanRequest plan_request(const RunConfig& config, const Workload& workload);

// Threads that compute.
int threads_of(const LimitsConfig& config, const MachineLimits& machine_limits);

TrainingShape training_shape(const RunConfig& config);

}  // namespace sluice

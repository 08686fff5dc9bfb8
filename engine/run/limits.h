// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// From a run config and a machine to the planner's input.

#include <filesystem>
#include <optional>

#include "devices/accelerator_options.h"
#include "devices/machine_file.h"
#include "devices/topology.h"
#include "engine/config/run_config.h"
#include "engine/run/device.h"
#include "offload/plan.h"

namespace sluice {

// The machine a plan is for: `file`, else what `probe` cached for this machine,
// else named defaults, with a line that says which. Never measures.
struct ChosenMachine {
  Machine machine;
  bool here = true;      // false: described by a file, limits of this machine do not count
  bool measured = true;  // false: conservative defaults
  DeviceChoice device;
  std::string missing;  // not here: why this machine has no such device; or empty
  // What a device with memory of its own offers; nothing where it was not opened.
  std::optional<Bytes> device_free;

  bool own_memory() const { return machine.device != "host"; }
};
// `device` is limits.accelerator: choose_device() says what it may be; with "auto" and a
// file, the file's kind. `for_real`: a file then lends its rates and this machine is used;
// else it stands for another machine, unless it is of the host device and has this machine's name.
// Errors: kConfig where the device asked for is not there, or not the file's.
ChosenMachine choose_machine(const std::optional<std::filesystem::path>& file,
                             const std::string& device, const MachineLimits& limits, bool for_real,
                             const Devices& devices = {});

// What the run may use of each tier, and who says so. `storage_folder` is where the
// swap file would be. `may_exceed`: limits above this machine's are taken as they
// are (`plan`); else they are Error{kNoFit}.
TierLimits resolve_limits(const LimitsConfig& config, const MachineLimits& machine_limits,
                          const ChosenMachine& chosen, const std::filesystem::path& storage_folder,
                          bool may_exceed);

// Whether a rule puts something on storage.
bool asks_for_storage(const PlaceConfig& place);

// The folder itself, or the first above it that is there.
std::filesystem::path existing_folder(std::filesystem::path folder);

// Where a swap file may be. Error{kIo} where `folder` is missing, no folder, not
// writable, or on a file system that lives in RAM.
void check_storage_folder(const std::filesystem::path& folder);

// What the config fixes of a plan. `workload` at any micro-batch size.
PlanRequest plan_request(const RunConfig& config, const Workload& workload);

// Threads that compute.
int threads_of(const LimitsConfig& config, const MachineLimits& machine_limits);

// For a device of `kind`.
TrainingShape training_shape(const RunConfig& config, const std::string& kind);

}  // namespace sluice

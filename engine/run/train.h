// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A training run from config to model folder.

#include <filesystem>
#include <optional>
#include <string>

#include "engine/config/load_config.h"
#include "engine/run/device.h"
#include "engine/run/stop_request.h"
#include "offload/plan.h"

namespace sluice {

struct TrainOptions {
  std::filesystem::path run_dir;  // empty: runs/<config name>
  std::optional<std::filesystem::path> plan, machine;
  bool resume = false, overwrite = false, serial = false, dry_run = false;
  Devices devices = {};
  std::optional<Seconds> deadline;  // from now on: the run ends in good order before it
};

struct TrainResult {
  // "steps", "epochs", "target_loss", "patience", "signal", "deadline", "STOP", "dry run"
  std::string reason;
  std::int64_t steps = 0;
  std::optional<double> val_loss;

  int exit_code() const { return reason == "signal" || reason == "deadline" ? kStopped : 0; }
};

// Everything of a plan that needs neither data nor weights nor a run directory.
struct PlannedRun {
  Model model;
  Machine machine;
  TierLimits limits;
  PlanResult result;
  OpenDevice device;  // empty where the machine is another one
};
PlannedRun plan_run(const RunConfig& config, const TrainOptions& options,
                    const std::filesystem::path& storage_folder, bool may_exceed);

// The micro-batch of the plan in `path`, which a run has left; nothing where it cannot be read.
std::optional<std::int64_t> planned_micro_batch(const std::filesystem::path& path);

// The line for an Infeasible: which tier is short, who set the limit, what fits.
[[noreturn]] void throw_infeasible(const Infeasible& infeasible);

// Errors as documented for each part; nothing is left behind by a run that was
// refused before step 0. SIGINT, SIGTERM, SIGUSR1, SIGHUP and the deadline end the run after
// the step, with a checkpoint and the model saved; a second SIGINT at once.
TrainResult train(const LoadedConfig& loaded, const TrainOptions& options);

}  // namespace sluice

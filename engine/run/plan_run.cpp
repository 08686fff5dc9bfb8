// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <fstream>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/base/read_text.h"
#include "devices/topology.h"
#include "engine/model/model.h"
#include "engine/run/limits.h"
#include "engine/run/train.h"
#include "offload/replay.h"

namespace sluice {
namespace {

[[noreturn]] void refuse_plan(const std::string& what) {
  throw Error(ErrorKind::kConfig,
              fmt::format("{}; make a plan with `sluice plan --json FILE`", what));
}

StoredPlan stored_plan(const std::filesystem::path& path) {
  std::error_code status;
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse_plan(path.string() + ": cannot read the plan");
  if (std::filesystem::is_directory(path, status)) refuse_plan(path.string() + ": is a folder");
  std::string text = read_text(file, path.string(), ErrorKind::kConfig);
  if (text.empty()) refuse_plan(path.string() + ": is empty");
  try {
    return parse_plan(std::move(text), path.string());
  } catch (const Error& error) {
    refuse_plan(error.what());
  }
}

// Asks a device with memory of its own what it has; a plan alone can do without the answer.
OpenDevice open_chosen(const RunConfig& config, const TrainOptions& options,
                       const MachineLimits& machine_limits, bool may_exceed,
                       ChosenMachine& chosen) {
  const int threads = threads_of(config.limits, machine_limits);
  try {
    OpenDevice device = options.devices.open(
        chosen.machine.device, accelerator_options(chosen.machine, chosen.device, threads));
    if (chosen.own_memory()) chosen.device_free = device.accelerator->capacity();
    return device;
  } catch (const Error& error) {
    if (!may_exceed) throw;
    log_warn(fmt::format("{}; planned for all of its memory", error.what()));
    return {};
  }
}

}  // namespace

std::optional<std::int64_t> planned_micro_batch(const std::filesystem::path& path) {
  try {
    return stored_plan(path).placement.sequences;
  } catch (const Error&) {
    return std::nullopt;
  }
}

PlannedRun plan_run(const RunConfig& config, const TrainOptions& options,
                    const std::filesystem::path& storage_folder, bool may_exceed) {
  const MachineLimits machine_limits = effective_limits();
  ChosenMachine chosen = choose_machine(options.machine, config.limits.accelerator, machine_limits,
                                        !may_exceed, options.devices);
  PlannedRun run;
  if (!may_exceed && !chosen.here) {
    throw Error(ErrorKind::kConfig,
                fmt::format("machine \"{}\" has a device of kind \"{}\": {}; train without "
                            "--machine, or see `sluice plan`",
                            chosen.machine.name, chosen.machine.device, chosen.missing));
  }
  if (chosen.here) run.device = open_chosen(config, options, machine_limits, may_exceed, chosen);
  run.machine = config.limits.threads
                    ? with_cores(chosen.machine, static_cast<int>(*config.limits.threads))
                    : chosen.machine;
  run.model = make_model(config.model.shape, training_shape(config, run.machine.device));
  run.limits = resolve_limits(config.limits, machine_limits, chosen, storage_folder, may_exceed);
  const std::int64_t any = config.train.micro_batch > 0
                               ? config.train.micro_batch
                               : config.train.global_batch / config.train.groups;
  PlanRequest request = plan_request(config, run.model.workload(any));
  request.serial = request.serial || options.serial;
  if (options.plan) {
    const std::string name = options.plan->string();
    Plan plan =
        replay_plan(stored_plan(*options.plan), run.model, request, run.limits, run.machine);
    for (const Tier tier : kTiers) {
      const TierUse& use = plan.tiers[index_of(tier)];
      if (use.peak <= use.capacity) continue;
      throw Error(ErrorKind::kNoFit,
                  fmt::format("{}: the plan needs {} of {}, the limit is {} ({}); make a new plan "
                              "with `sluice plan`",
                              name, format_bytes(use.peak), name_of(tier),
                              format_bytes(use.capacity), use.source));
    }
    run.result = std::move(plan);
  } else {
    run.result = make_plan(run.model, request, run.limits, run.machine);
  }
  // Not beside a refusal, which is one line.
  if (!chosen.measured && std::holds_alternative<Plan>(run.result)) {
    log_info("machine: not measured, conservative defaults; `sluice probe` measures it");
  }
  return run;
}

void throw_infeasible(const Infeasible& infeasible) {
  std::string text =
      fmt::format("does not fit: {} needs {} bytes, limit {} ({}), short of {} bytes; try ",
                  name_of(infeasible.tier), infeasible.needed.value, infeasible.capacity.value,
                  infeasible.source, infeasible.missing().value);
  const std::string more = " (all: `sluice plan`)";
  int told = 0;
  bool all = true;
  for (const Remedy& remedy : infeasible.remedies) {  // the fastest first
    if (remedy.missing.value > 0) continue;
    const std::string one =
        fmt::format("{}{} (at most {} a step)", told == 0 ? "" : ", or ", remedy.change,
                    format_seconds(Seconds{remedy.step_seconds}));
    // Whole, or not at all: half of a remedy is none.
    const bool fits = told < 3 && text.size() + one.size() + more.size() <= kLongestLine;
    all = all && fits;
    if (!fits) continue;
    text += one;
    ++told;
  }
  if (told == 0) text += "a smaller model or batch";
  throw Error(ErrorKind::kNoFit, all ? text : text + more);
}

}  // namespace sluice

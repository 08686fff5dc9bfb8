// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/storage/file_system.h"
#include "devices/storage/swap_file.h"
#include "engine/data/token_source.h"
#include "engine/files/output_file.h"
#include "engine/files/run_directory.h"
#include "engine/run/hardware.h"
#include "engine/run/limits.h"
#include "engine/run/nonfinite.h"
#include "engine/run/step_log.h"
#include "engine/run/stop_request.h"
#include "engine/run/trainer.h"
#include "engine/run/validation.h"
#include "engine/run/weights.h"
#include "offload/plan_json.h"

namespace sluice {
namespace {

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

std::int64_t total_steps(const TrainConfig& train, std::int64_t samples_per_epoch) {
  std::int64_t total = train.steps.value_or(kNoEnd);
  if (train.epochs) {
    const double samples = *train.epochs * static_cast<double>(samples_per_epoch);
    total = std::min(
        total,
        std::max<std::int64_t>(1, std::llround(samples / static_cast<double>(train.global_batch))));
  }
  return total;
}

StorageBackend backend_of(IoChoice io) {
  if (io == IoChoice::kUring) return StorageBackend::kUring;
  return io == IoChoice::kThreads ? StorageBackend::kThreads : StorageBackend::kAuto;
}

// Lines for people go to the file too, while it lives.
class LogFile {
 public:
  explicit LogFile(const std::filesystem::path& path) { set_log_file(path); }
  ~LogFile() { set_log_file({}); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
};

// A run that was planned and whose data is open.
class Run {
 public:
  Run(const LoadedConfig& loaded, const TrainOptions& options, RunDirectory& folder,
      PlannedRun& planned, const TrainingData& data, const StopRequest& stop)
      : loaded_(loaded),
        config_(loaded.config),
        options_(options),
        folder_(folder),
        planned_(planned),
        plan_(std::get<Plan>(planned.result)),
        data_(data),
        stop_(stop),
        hardware_(std::move(planned.device),
                  {.extent = extents(),
                   .threads = threads_of(config_.limits, effective_limits()),
                   .storage_folder = storage_folder(),
                   .io = backend_of(config_.limits.io),
                   .checksum = config_.limits.storage_checksum}),
        state_(plan_.workload, plan_.program, hardware_.resources()) {}

  TrainResult go() {
    log_info(fmt::format("device: {}", hardware_.accelerator().description()));
    if (hardware_.storage() != nullptr) {
      log_info(fmt::format("storage: {}", hardware_.storage()->description()));
    }
    load_start(plan_.workload, config_.model, static_cast<std::uint64_t>(config_.train.seed),
               state_);
    check_room_for_model();
    if (options_.dry_run) return {.reason = "dry run"};
    if (stop_.asked()) {
      log_info("stopped by a signal before the first step: nothing was kept");
      return {.reason = "signal"};
    }
    folder_.keep();
    replace_file(folder_.config(), print_config(loaded_));
    replace_file(folder_.plan(), to_json(planned_.result, planned_.machine));
    const LogFile log_file(folder_.log());
    log_info(describe(plan_, planned_.machine));
    MetricsWriter metrics(folder_.metrics());
    metrics.event("start", {{"parameters", plan_.workload.parameters()},
                            {"hash", fmt::format("{:016x}", hash_of(plan_.program))}});
    try {
      const TrainResult result = steps(metrics);
      metrics.event("stop", {{"reason", result.reason}, {"step", result.steps}});
      return result;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kNonFinite) say_which_weight();
      // A disk that failed would fail again, and hide the first error.
      if (error.kind() != ErrorKind::kIo) {
        metrics.event("stop", {{"reason", "error"}, {"message", error.what()}});
      }
      throw;
    }
  }

 private:
  std::array<Bytes, kTierCount> extents() const {
    std::array<Bytes, kTierCount> extent;
    for (const Tier tier : kTiers) extent[index_of(tier)] = plan_.tiers[index_of(tier)].peak;
    return extent;
  }
  std::filesystem::path storage_folder() const {
    return config_.limits.storage_path.empty() ? folder_.path() : config_.limits.storage_path;
  }

  TrainResult steps(MetricsWriter& metrics) {
    const TrainingBatches batches(data_.train, config_.data.seq_len,
                                  static_cast<std::uint64_t>(config_.train.seed));
    const std::int64_t last = total_steps(config_.train, batches.samples_per_epoch());
    const LearningRate rate(config_.schedule, config_.optimizer.lr, last == kNoEnd ? 0 : last);
    StepLog log(config_, plan_, metrics, last == kNoEnd ? 0 : last);
    Trainer trainer({.config = config_,
                     .batches = batches,
                     .rate = rate,
                     .folder = folder_,
                     .log = log,
                     .stop = stop_},
                    plan_.workload, last);
    const Resources resources = hardware_.resources();
    Executor training(
        plan_.workload, plan_.program, plan_.waits, planned_.model.layers, resources,
        {.serial = options_.serial || !config_.place.overlap,
         .clip = static_cast<float>(config_.train.clip),
         .rule = [&](std::int64_t step) { return update_rule(config_.optimizer, rate, step); }});
    Executor forward(plan_.workload, plan_.evaluation, plan_.evaluation_waits,
                     planned_.model.layers, resources, {.serial = options_.serial});
    std::optional<Validation> validation;
    if (data_.val.count > 1) {
      validation.emplace(config_, plan_.workload, data_.val, forward, stop_);
    }

    TrainResult result;
    while (result.reason.empty()) {
      const std::int64_t every = config_.eval.every;
      trainer.run(training, every > 0 ? (trainer.done() / every + 1) * every : last);
      result.steps = trainer.done();
      if (trainer.take_save()) save_on_request(result.steps, metrics, log);
      result.reason = trainer.reason();
      const bool end = trainer.done() >= last;
      if (end) result.reason = config_.train.steps == last ? "steps" : "epochs";
      if (!validation || !validation->due(result.steps, end)) continue;
      const std::string reason = validation->run(result.steps, metrics, log);
      if (!reason.empty()) result.reason = reason;
    }
    if (validation) result.val_loss = validation->loss();
    finish(log, result);
    return result;
  }

  // Where the weights themselves are at fault, that is the first thing to know.
  void say_which_weight() {
    if (const auto weight = nonfinite_weight(plan_.workload, state_)) {
      log_warn(fmt::format("weight {}", *weight));
    }
  }

  // A request that cannot be met is no reason to lose the run.
  void save_on_request(std::int64_t step, MetricsWriter& metrics, StepLog& log) {
    try {
      save();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kIo) throw;
      return log_warn(fmt::format("SAVE: {}; training goes on", error.what()));
    }
    log.say(fmt::format("saved {}", folder_.model().string()));
    metrics.event("save", {{"step", step}, {"path", folder_.model().string()}});
  }

  // Known before the first step, and not after the last.
  void check_room_for_model() const {
    const Bytes needed{plan_.workload.parameters() * size_of(plan_.workload.compute)};
    const std::filesystem::path folder = folder_.model().parent_path();
    const Bytes free = free_space(folder);
    if (needed <= free) return;
    throw Error(ErrorKind::kNoFit,
                fmt::format("{}: the model to be saved takes {}, {} are free there: make room, or "
                            "--run-dir names a folder on another disk",
                            folder.string(), format_bytes(needed), format_bytes(free)));
  }

  void finish(StepLog& log, const TrainResult& result) {
    save();
    if (!log.measured().empty()) {
      write_trace(folder_.trace(), forecast_spans(plan_), log.measured());
    }
    log.say(fmt::format("{}: {} steps, model in {}", result.reason, result.steps,
                        folder_.model().string()));
  }

  void save() { save_folder(plan_.workload, config_.model, state_, folder_.model()); }

  const LoadedConfig& loaded_;
  const RunConfig& config_;
  const TrainOptions& options_;
  RunDirectory& folder_;
  PlannedRun& planned_;
  const Plan& plan_;
  const TrainingData& data_;
  const StopRequest& stop_;
  Hardware hardware_;
  StateAccess state_;
};

}  // namespace

TrainResult train(const LoadedConfig& loaded, const TrainOptions& options) {
  const RunConfig& config = loaded.config;
  check_trainable(config);
  // From here on a signal ends the run in good order.
  const StopRequest stop;
  const std::filesystem::path path =
      options.run_dir.empty() ? std::filesystem::path("runs") / loaded.name : options.run_dir;
  const std::filesystem::path storage =
      config.limits.storage_path.empty() ? path : config.limits.storage_path;
  if (!config.limits.storage_path.empty()) check_storage_folder(storage);
  const RunMode mode = options.overwrite ? RunMode::kOverwrite
                       : options.resume  ? RunMode::kResume
                                         : RunMode::kFresh;
  RunDirectory folder(path, mode);
  if (folder.resumes()) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: holds a run but no checkpoint to resume from; --overwrite starts "
                            "it again, or give another --run-dir",
                            path.string()));
  }
  remove_stale_swap_file(path);
  if (options.resume) {
    log_info(fmt::format("{}: nothing to resume, starting afresh", path.string()));
  }
  const TrainingData data = open_training_data(config.data, config.model.shape.vocabulary);
  PlannedRun planned = plan_run(config, options, storage, /*may_exceed=*/false);
  if (const auto* infeasible = std::get_if<Infeasible>(&planned.result)) {
    throw_infeasible(*infeasible);
  }
  check_start(std::get<Plan>(planned.result).workload, config.model);
  return Run(loaded, options, folder, planned, data, stop).go();
}

}  // namespace sluice

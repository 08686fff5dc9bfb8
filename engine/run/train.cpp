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
#include "engine/run/resume.h"
#include "engine/run/saves.h"
#include "engine/run/step_log.h"
#include "engine/run/stop_request.h"
#include "engine/run/trainer.h"
#include "engine/run/validation.h"
#include "engine/run/weights.h"
#include "offload/plan_json.h"

namespace sluice {
namespace {

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

// A run that goes on has its steps and samples behind it, whatever its batch was then.
std::int64_t total_steps(const TrainConfig& train, std::int64_t samples_per_epoch,
                         const RunState& start) {
  std::int64_t total = train.steps.value_or(kNoEnd);
  if (train.epochs) {
    const double samples =
        *train.epochs * static_cast<double>(samples_per_epoch) - static_cast<double>(start.samples);
    const auto steps = std::llround(samples / static_cast<double>(train.global_batch));
    total = std::min(total, std::max<std::int64_t>(1, start.step + steps));
  }
  return std::max(total, start.step);
}

StorageBackend backend_of(IoChoice io) {
  if (io == IoChoice::kUring) return StorageBackend::kUring;
  return io == IoChoice::kThreads ? StorageBackend::kThreads : StorageBackend::kAuto;
}

// Lines for people go to the file too, while it lives.
class LogFile {
 public:
  explicit LogFile(const std::filesystem::path& path) : file_(path, OutputFile::Mode::kAppend) {
    set_log_file(file_.descriptor());
  }
  ~LogFile() { set_log_file(-1); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

 private:
  OutputFile file_;
};

// A run that was planned and whose data is open.
class Run {
 public:
  Run(const LoadedConfig& loaded, const TrainOptions& options, RunDirectory& folder,
      PlannedRun& planned, const TrainingData& data, Resume& resume, StopRequest& stop)
      : loaded_(loaded),
        config_(loaded.config),
        options_(options),
        folder_(folder),
        planned_(planned),
        plan_(std::get<Plan>(planned.result)),
        data_(data),
        resume_(resume),
        stop_(stop),
        hardware_(std::move(planned.device),
                  {.extent = extents(),
                   .threads = threads_of(config_.limits, effective_limits()),
                   .storage_folder = storage_folder(),
                   .io = backend_of(config_.limits.io),
                   .checksum = config_.limits.storage_checksum}),
        state_(plan_.workload, plan_.program, hardware_.resources()),
        saves_({.loaded = loaded, .plan = plan_, .folder = folder, .state = state_}) {}

  TrainResult go() {
    std::vector<std::string> made = folder_.created();
    if (hardware_.storage() != nullptr) {
      made.insert(made.begin(), storage_folder() / swap_file_name());
    }
    stop_.leave_at_once(std::move(made));
    log_info(fmt::format("device: {}", hardware_.accelerator().description()));
    if (hardware_.storage() != nullptr) {
      log_info(fmt::format("storage: {}", hardware_.storage()->description()));
    }
    RunState start;
    if (resume_.from_checkpoint()) {
      start = resume_.load(plan_.workload, state_);
    } else {
      load_start(plan_.workload, config_.model, static_cast<std::uint64_t>(config_.train.seed),
                 hardware_.resources().host_workers, state_);
    }
    saves_.check_room();
    if (options_.dry_run) return {.reason = "dry run"};
    stop_.finish_step();
    stop_.reserve(saves_.time_at_end() + Seconds{plan_.forecast.step_seconds});
    if (stop_.asked()) {
      log_info("stopped before the first step: nothing was kept");
      return {.reason = stop_.reason(), .steps = start.step};
    }
    folder_.keep();
    replace_file(folder_.config(), print_config(loaded_));
    replace_file(folder_.plan(), to_json(planned_.result, planned_.machine));
    const LogFile log_file(folder_.log());
    log_info(describe(plan_, planned_.machine));
    cut_metrics(folder_.metrics(), start.step, start.validation.step);
    MetricsWriter metrics(folder_.metrics());
    metrics.event("start", {{"step", start.step},
                            {"parameters", plan_.workload.parameters()},
                            {"hash", fmt::format("{:016x}", hash_of(plan_.program))}});
    if (resume_.from_checkpoint()) {
      metrics.event("resume", {{"step", start.step},
                               {"path", resume_.source().string()},
                               {"skipped", resume_.skipped()}});
    }
    try {
      const TrainResult result = steps(start, metrics);
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
    for (std::size_t i = 0; i < kTierCount; ++i) {
      extent[i] = std::max(plan_.program.extent[i], plan_.evaluation.extent[i]);
    }
    return extent;
  }
  std::filesystem::path storage_folder() const {
    return config_.limits.storage_path.empty() ? folder_.path() : config_.limits.storage_path;
  }

  TrainResult steps(const RunState& start, MetricsWriter& metrics) {
    const TrainingBatches batches(data_.train, config_.data.seq_len,
                                  static_cast<std::uint64_t>(config_.train.seed));
    const std::int64_t last = total_steps(config_.train, batches.samples_per_epoch(), start);
    const LearningRate rate(config_.schedule, config_.optimizer.lr, last == kNoEnd ? 0 : last);
    StepLog log(config_, plan_, metrics, last == kNoEnd ? 0 : last);
    saves_.begin(start, resume_.unsound(), last, identity_of(data_.train));
    Trainer trainer({.config = config_,
                     .batches = batches,
                     .rate = rate,
                     .folder = folder_,
                     .log = log,
                     .stop = stop_,
                     .saver = saves_.saver(),
                     .time_to_end = [this] { return time_to_end(); }},
                    plan_.workload, last, start);
    const Resources resources = hardware_.resources();
    Executor training(
        plan_.workload, plan_.program, plan_.waits, planned_.model.layers, resources,
        {.serial = options_.serial || !config_.place.overlap,
         .clip = static_cast<float>(config_.train.clip),
         .rule = [&](std::int64_t step) { return update_rule(config_.optimizer, rate, step); },
         .sink = &saves_.saver()});
    Executor forward(plan_.workload, plan_.evaluation, plan_.evaluation_waits,
                     planned_.model.layers, resources,
                     {.serial = options_.serial || !config_.place.overlap});
    std::optional<Validation> validation;
    if (data_.val.count > 1) {
      validation.emplace(config_, plan_.workload, data_.val, forward, stop_, start.validation);
    }
    const auto validate = [&](bool end) -> std::string {
      if (!validation || !validation->due(trainer.done(), end)) return {};
      const std::string reason = validation->run(trainer.done(), metrics, log);
      trainer.set_validation(validation->state());
      return reason;
    };

    if (start.step >= last) log.say(fmt::format("all {} steps are done already", start.step));
    TrainResult result;
    // A run may have ended between a checkpoint and the validation of the same step.
    if (start.step > 0) result.reason = validate(false);
    while (result.reason.empty()) {
      const std::int64_t every = config_.eval.every;
      stop_.reserve(time_to_end());
      trainer.run(training, every > 0 ? (trainer.done() / every + 1) * every : last);
      if (trainer.take_save()) saves_.on_request(trainer.run_state(), metrics, log);
      result.reason = trainer.reason();
      const bool end = trainer.done() >= last;
      if (end) result.reason = config_.train.steps.value_or(kNoEnd) <= last ? "steps" : "epochs";
      const std::string reason = validate(end);
      if (!reason.empty()) result.reason = reason;
    }
    tell_memory(training, forward, metrics);
    result.steps = trainer.done();
    if (validation && validation->state().step > 0) result.val_loss = validation->state().loss;
    finish(trainer.run_state(), log, result);
    return result;
  }

  Seconds time_to_end() const {
    return saves_.time_at_end() + Seconds{2 * plan_.forecast.step_seconds + 1};
  }

  // What the plan said of each tier's arena, and up to which page it was really used.
  void tell_memory(const Executor& training, const Executor& forward, MetricsWriter& metrics) {
    EventFields fields;
    for (const Tier tier : kTiers) {
      const std::size_t i = index_of(tier);
      const std::string name(name_of(tier));
      const Bytes touched = std::max(training.touched()[i], forward.touched()[i]);
      fields.emplace_back(name + "_bytes", round_up(touched.value, 4096));
      fields.emplace_back(name + "_planned_bytes", extents()[i].value);
    }
    metrics.event("memory", fields);
  }

  // Where the weights themselves are at fault, that is the first thing to know.
  void say_which_weight() {
    if (const auto weight = nonfinite_weight(plan_.workload, state_)) {
      log_warn(fmt::format("weight {}", *weight));
    }
  }

  void finish(const RunState& run, StepLog& log, const TrainResult& result) {
    saves_.at_end(run, log);
    if (config_.log.trace) {
      write_trace(folder_.trace(), forecast_spans(plan_), log.measured());
    }
    log.say(fmt::format("{}: {} steps, model in {}", result.reason, result.steps,
                        folder_.model().string()));
  }

  const LoadedConfig& loaded_;
  const RunConfig& config_;
  const TrainOptions& options_;
  RunDirectory& folder_;
  PlannedRun& planned_;
  const Plan& plan_;
  const TrainingData& data_;
  Resume& resume_;
  StopRequest& stop_;
  Hardware hardware_;
  StateAccess state_;
  Saves saves_;
};

// The plan of a run that goes on where `before` is its last one: a micro-batch that was chosen
// for it stays, since another one gives sums of other bits.
PlannedRun plan_next(const RunConfig& config, const TrainOptions& options,
                     const std::filesystem::path& storage, const std::filesystem::path& before) {
  const auto plan = [&](const RunConfig& with) {
    return plan_run(with, options, storage, /*may_exceed=*/false);
  };
  const bool chosen = config.train.micro_batch == 0 && !options.plan && !before.empty();
  const std::optional<std::int64_t> last = chosen ? planned_micro_batch(before) : std::nullopt;
  if (!last || config.train.global_batch % (*last * config.train.groups) != 0) return plan(config);
  RunConfig same = config;
  same.train.micro_batch = *last;
  PlannedRun planned = plan(same);
  if (std::holds_alternative<Plan>(planned.result)) return planned;
  planned = {};  // and its device
  planned = plan(config);
  if (const auto* const other = std::get_if<Plan>(&planned.result)) {
    log_warn(
        fmt::format("a micro-batch is {} sequences from here on; {} as before do not fit, and "
                    "the numbers are those of another order of sums",
                    other->placement.sequences, *last));
  }
  return planned;
}

}  // namespace

TrainResult train(const LoadedConfig& loaded, const TrainOptions& options) {
  const RunConfig& config = loaded.config;
  check_trainable(config);
  // From here on a signal ends the run in good order.
  StopRequest stop(options.deadline);
  const std::filesystem::path path =
      options.run_dir.empty() ? std::filesystem::path("runs") / loaded.name : options.run_dir;
  if (options.resume && options.overwrite) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: --resume goes on with the run there, --overwrite deletes it: drop "
                            "one of them",
                            path.string()));
  }
  const std::filesystem::path storage =
      config.limits.storage_path.empty() ? path : config.limits.storage_path;
  if (!config.limits.storage_path.empty()) check_storage_folder(storage);
  // The run directory itself may be made later.
  if (asks_for_storage(config.place)) check_storage_folder(existing_folder(storage));
  const RunMode mode = options.overwrite ? RunMode::kOverwrite
                       : options.resume  ? RunMode::kResume
                                         : RunMode::kFresh;
  RunDirectory folder(path, mode);
  stop.leave_at_once(folder.created());
  Resume resume;
  if (folder.resumes()) resume = Resume(folder);
  remove_stale_swap_file(path);
  if (options.resume && !resume.from_checkpoint()) {
    log_info(fmt::format("{}: nothing to resume, starting afresh", path.string()));
  }
  const TrainingData data = open_training_data(config.data, config.model.shape.vocabulary);
  resume.check(config, identity_of(data.train));
  check_start(config.model);
  PlannedRun planned = plan_next(
      config, options, storage, resume.from_checkpoint() ? folder.plan() : std::filesystem::path());
  if (const auto* infeasible = std::get_if<Infeasible>(&planned.result)) {
    throw_infeasible(*infeasible);
  }
  stop.finish_step();  // while the swap file is made
  return Run(loaded, options, folder, planned, data, resume, stop).go();
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "engine/data/token_source.h"
#include "engine/files/output_file.h"
#include "engine/files/run_directory.h"
#include "engine/run/evaluate.h"
#include "engine/run/hardware.h"
#include "engine/run/limits.h"
#include "engine/run/step_log.h"
#include "engine/run/stop_request.h"
#include "engine/run/weights.h"
#include "engine/schedule.h"
#include "offload/plan_json.h"

namespace sluice {
namespace {

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();
// Steps skipped in a row before a run with on_nonfinite = "skip" gives up.
constexpr int kMostSkips = 10;

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

// The steps of a run, one stretch between two validations at a time.
class Trainer final : public StepListener {
 public:
  Trainer(const RunConfig& config, const Workload& workload, const TrainingBatches& batches,
          const LearningRate& rate, std::int64_t last, RunDirectory& folder, StepLog& log)
      : config_(config),
        layout_(batch_layout(workload)),
        batches_(batches),
        rate_(rate),
        last_(last),
        folder_(folder),
        log_(log) {}

  // Runs from the step after done() to `until`, or to the first request to stop or save.
  void run(Executor& executor, std::int64_t until) {
    until_ = std::min(until, last_);
    executor.run(done_ + 1, *this);
    log_.drained();
  }

  std::int64_t done() const { return done_; }
  bool stop_asked() const { return !reason_.empty(); }
  const std::string& reason() const { return reason_; }
  bool take_save() { return save_.exchange(false); }
  UpdateRule rule(std::int64_t step) const {
    const OptimizerConfig& o = config_.optimizer;
    return {.learning_rate = static_cast<float>(rate_.at(step - 1)),
            .beta1 = static_cast<float>(o.beta1),
            .beta2 = static_cast<float>(o.beta2),
            .epsilon = static_cast<float>(o.eps),
            .weight_decay = static_cast<float>(o.weight_decay)};
  }

  bool prepare(std::int64_t step, std::span<std::byte> batch) override {
    if (step > until_) return false;
    if (stop_.asked() && reason_.empty()) reason_ = "signal";
    if (folder_.take_stop_request() && reason_.empty()) reason_ = "STOP";
    if (folder_.take_save_request()) save_ = true;
    if (step > 1 && (!reason_.empty() || save_)) return false;
    const std::int64_t first = (step - 1) * config_.train.global_batch;
    unmasked_[static_cast<std::size_t>(step % 4)] =
        fill_batch(layout_, batch, [&](std::int64_t at, auto ids, auto targets) {
          return batches_.fill(first + at, ids, targets);
        });
    return true;
  }

  void report(const StepReport& report) override {
    const std::int64_t unmasked = unmasked_[static_cast<std::size_t>(report.step % 4)];
    double sum = 0;
    for (const float loss : report.losses) sum += static_cast<double>(loss);
    const double loss = sum / static_cast<double>(std::max<std::int64_t>(1, unmasked));
    tokens_ += unmasked;
    const bool finite = report.norm.finite != 0 && std::isfinite(loss);
    if (!finite) on_nonfinite(report.step, loss);
    if (finite) skipped_ = 0;
    done_ = report.step;
    log_.reported({.step = report.step,
                   .loss = loss,
                   .norm = static_cast<double>(report.norm.norm),
                   .lr = rate_.at(report.step - 1),
                   .tokens = tokens_});
  }

  void digest(std::int64_t step, std::uint64_t value) override { log_.digest(step, value); }
  void completed(std::int64_t step, const Timeline& timeline) override {
    log_.completed(step, timeline);
  }

 private:
  void on_nonfinite(std::int64_t step, double loss) {
    const std::int64_t first = (step - 1) * config_.train.global_batch;
    const std::string what =
        fmt::format("step {}: loss {} or gradient norm is not a finite number (samples {} to {})",
                    step, loss, first, first + config_.train.global_batch - 1);
    if (config_.train.on_nonfinite == OnNonFinite::kStop) {
      throw Error(ErrorKind::kNonFinite,
                  what + "; lower optimizer.lr, or see train.on_nonfinite = \"skip\"");
    }
    if (++skipped_ > kMostSkips) {
      throw Error(ErrorKind::kNonFinite, fmt::format("{}: {} steps in a row", what, skipped_));
    }
    log_warn(what + ": skipped, nothing was updated");
  }

  const RunConfig& config_;
  BatchLayout layout_;
  const TrainingBatches& batches_;
  const LearningRate& rate_;
  std::int64_t last_;
  std::int64_t until_ = 0;
  RunDirectory& folder_;
  StepLog& log_;
  StopRequest stop_;
  std::array<std::int64_t, 4> unmasked_{};  // by step modulo 4
  std::int64_t tokens_ = 0;
  std::atomic<std::int64_t> done_{0};
  std::atomic<bool> save_{false};
  std::string reason_;  // written by prepare(), read between runs
  int skipped_ = 0;
};

// A run that was planned and whose data is open.
class Run {
 public:
  Run(const LoadedConfig& loaded, const TrainOptions& options, RunDirectory& folder,
      PlannedRun& planned, const TrainingData& data)
      : loaded_(loaded),
        config_(loaded.config),
        options_(options),
        folder_(folder),
        planned_(planned),
        plan_(std::get<Plan>(planned.result)),
        data_(data),
        hardware_(planned.machine, {.extent = extents(),
                                    .threads = threads_of(config_.limits, effective_limits()),
                                    .storage_folder = storage_folder(),
                                    .io = backend_of(config_.limits.io)}),
        state_(plan_.workload, plan_.program, hardware_.resources()) {}

  TrainResult go() {
    log_info(fmt::format("device: {}", hardware_.accelerator().description()));
    if (hardware_.storage() != nullptr) {
      log_info(fmt::format("storage: {}", hardware_.storage()->description()));
    }
    load_start(plan_.workload, config_.model, static_cast<std::uint64_t>(config_.train.seed),
               state_);
    if (options_.dry_run) return {.reason = "dry run"};
    folder_.keep();
    replace_file(folder_.config(), print_config(loaded_));
    replace_file(folder_.plan(), to_json(planned_.result, planned_.machine));
    set_log_file(folder_.log());
    log_info(describe(plan_, planned_.machine));
    MetricsWriter metrics(folder_.metrics());
    metrics.event("start", {{"parameters", plan_.workload.parameters()},
                            {"hash", fmt::format("{:016x}", hash_of(plan_.program))}});
    TrainResult result = steps(metrics);
    metrics.event("stop", {{"reason", result.reason}, {"step", result.steps}});
    set_log_file({});
    return result;
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
    Trainer trainer(config_, plan_.workload, batches, rate, last, folder_, log);
    const Resources resources = hardware_.resources();
    Executor training(plan_.workload, plan_.program, plan_.waits, planned_.model.layers, resources,
                      {.serial = options_.serial || !config_.place.overlap,
                       .clip = static_cast<float>(config_.train.clip),
                       .rule = [&](std::int64_t step) { return trainer.rule(step); }});
    Executor forward(plan_.workload, plan_.evaluation, plan_.evaluation_waits,
                     planned_.model.layers, resources, {.serial = options_.serial});
    std::optional<Evaluation> evaluation;
    if (data_.val.count > 1) {
      evaluation.emplace(plan_.workload, data_.val, config_.eval.sequences);
    }

    TrainResult result;
    double best = std::numeric_limits<double>::infinity();
    std::int64_t without_best = 0;
    while (result.reason.empty()) {
      const std::int64_t every = config_.eval.every;
      trainer.run(training, every > 0 ? (trainer.done() / every + 1) * every : last);
      result.steps = trainer.done();
      if (trainer.take_save()) {
        save();
        log.say(fmt::format("saved {}", folder_.model().string()));
        metrics.event("save", {{"step", result.steps}, {"path", folder_.model().string()}});
      }
      if (trainer.stop_asked()) result.reason = trainer.reason();
      const bool end = trainer.done() >= last;
      if (end) result.reason = config_.train.steps == last ? "steps" : "epochs";
      const bool due = end || (every > 0 && trainer.done() % every == 0 && trainer.done() > 0);
      if (!evaluation || !due) continue;
      const EvaluationResult value = evaluation->run(forward);
      metrics.evaluation({.step = result.steps, .loss = value.loss, .tokens = {value.tokens}});
      log.say(fmt::format("step {}  validation loss {:.4f}  {:.4f} bits per token  {} tokens",
                          result.steps, value.loss, value.bits(), value.tokens));
      result.val_loss = value.loss;
      without_best = value.loss < best ? 0 : without_best + 1;
      best = std::min(best, value.loss);
      if (config_.train.target_loss && value.loss <= *config_.train.target_loss) {
        result.reason = "target_loss";
      } else if (config_.train.patience && without_best >= *config_.train.patience) {
        result.reason = "patience";
      }
    }
    save();
    if (!log.measured().empty())
      write_trace(folder_.trace(), forecast_spans(plan_), log.measured());
    log.say(fmt::format("{}: {} steps, model in {}", result.reason, result.steps,
                        folder_.model().string()));
    return result;
  }

  void save() { save_folder(plan_.workload, config_.model.shape, state_, folder_.model()); }

  const LoadedConfig& loaded_;
  const RunConfig& config_;
  const TrainOptions& options_;
  RunDirectory& folder_;
  PlannedRun& planned_;
  const Plan& plan_;
  const TrainingData& data_;
  Hardware hardware_;
  StateAccess state_;
};

}  // namespace

TrainResult train(const LoadedConfig& loaded, const TrainOptions& options) {
  const RunConfig& config = loaded.config;
  check_trainable(config);
  const std::filesystem::path path =
      options.run_dir.empty() ? std::filesystem::path("runs") / loaded.name : options.run_dir;
  const TrainingData data = open_training_data(config.data, config.model.shape.vocabulary);
  const std::filesystem::path storage =
      config.limits.storage_path.empty() ? path : config.limits.storage_path;
  if (!config.limits.storage_path.empty()) check_storage_folder(storage);
  PlannedRun planned = plan_run(config, options, storage, /*may_exceed=*/false);
  if (const auto* infeasible = std::get_if<Infeasible>(&planned.result)) {
    throw_infeasible(*infeasible);
  }
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
  if (options.resume) {
    log_info(fmt::format("{}: nothing to resume, starting afresh", path.string()));
  }
  return Run(loaded, options, folder, planned, data).go();
}

}  // namespace sluice

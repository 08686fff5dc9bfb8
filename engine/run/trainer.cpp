// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/trainer.h"

#include <algorithm>
#include <utility>

#include "engine/run/evaluate.h"

namespace sluice {
UpdateRule update_rule(const OptimizerConfig& optimizer, const LearningRate& rate,
                       std::int64_t step) {
  return {.learning_rate = static_cast<float>(rate.at(step - 1)),
          .beta1 = static_cast<float>(optimizer.beta1),
          .beta2 = static_cast<float>(optimizer.beta2),
          .epsilon = static_cast<float>(optimizer.eps),
          .weight_decay = static_cast<float>(optimizer.weight_decay)};
}

Trainer::Trainer(const TrainerParts& parts, const Workload& workload, std::int64_t last,
                 const RunState& start)
    : parts_(parts),
      layout_(batch_layout(workload)),
      last_(last),
      start_(start),
      run_(start),
      guard_(parts.config.train, workload, start.skipped) {}

void Trainer::run(Executor& executor, std::int64_t until) {
  first_ = done() + 1;
  until_ = std::min(until, last_);
  executor.run(first_, *this);
  parts_.log.drained();
  tell_saver_what_is_logged();
}

void Trainer::tell_saver_what_is_logged() {
  const StepLog::Written written = parts_.log.written();
  parts_.saver.logged(written.step, written.all);
}

// A resumed run may have another batch: its samples follow those of the run before.
std::int64_t Trainer::first_sample(std::int64_t step) const {
  return start_.samples + (step - 1 - start_.step) * parts_.config.train.global_batch;
}

bool Trainer::prepare(std::int64_t step, std::span<std::byte> batch) {
  if (step > until_) return false;
  if (reason_.empty()) reason_ = parts_.stop.reason();
  if (parts_.folder.take_stop_request() && reason_.empty()) reason_ = "STOP";
  if (parts_.folder.take_save_request()) save_ = true;
  if (step > 1 && !reason_.empty()) return false;
  // At least one step between two saves, however often somebody asks.
  if (step > first_ && save_) return false;
  const std::int64_t first = first_sample(step);
  unmasked_[static_cast<std::size_t>(step % 4)] =
      fill_batch(layout_, batch, [&](std::int64_t at, auto ids, auto targets) {
        return parts_.batches.fill(first + at, ids, targets);
      });
  return true;
}

void Trainer::report(const StepReport& report) {
  const std::int64_t unmasked = unmasked_[static_cast<std::size_t>(report.step % 4)];
  double sum = 0;
  for (const float loss : report.losses) sum += static_cast<double>(loss);
  const double loss = sum / static_cast<double>(std::max<std::int64_t>(1, unmasked));
  EventFields skip = guard_.check(report, first_sample(report.step));
  const std::int64_t samples = first_sample(report.step + 1);
  const double per_epoch = static_cast<double>(parts_.batches.samples_per_epoch());
  run_ = {.step = report.step,
          .samples = samples,
          .tokens = run_.tokens + unmasked,
          .epoch = static_cast<double>(samples) / per_epoch,
          .loss = loss,
          .learning_rate = parts_.rate.at(report.step - 1),
          .seed = parts_.config.train.seed,
          .skipped = guard_.skips(),
          .digest = std::nullopt,
          .validation = run_.validation};
  parts_.log.reported({.step = report.step,
                       .loss = loss,
                       .norm = static_cast<double>(report.norm.norm),
                       .lr = run_.learning_rate,
                       .tokens = run_.tokens,
                       .skipped = guard_.skipped(),
                       .skip = std::move(skip)});
  parts_.saver.reported(run_);
}

void Trainer::digest(std::int64_t step, std::uint64_t value) {
  parts_.log.digest(step, value);
  if (run_.step == step) run_.digest = value;
  parts_.saver.digest(step, value);
  tell_saver_what_is_logged();
}

void Trainer::completed(std::int64_t step, const Timeline& timeline) {
  parts_.log.completed(step, timeline);
  tell_saver_what_is_logged();
  parts_.saver.completed(step, Seconds{timeline.step_seconds});
  parts_.log.checkpoints(parts_.saver.take_finished(/*all=*/false));
  parts_.stop.reserve(parts_.time_to_end());
}

}  // namespace sluice

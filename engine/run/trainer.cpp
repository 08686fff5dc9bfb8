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

Trainer::Trainer(const TrainerParts& parts, const Workload& workload, std::int64_t last)
    : parts_(parts),
      layout_(batch_layout(workload)),
      last_(last),
      guard_(parts.config.train, workload) {}

void Trainer::run(Executor& executor, std::int64_t until) {
  first_ = done_ + 1;
  until_ = std::min(until, last_);
  executor.run(done_ + 1, *this);
  parts_.log.drained();
}

bool Trainer::prepare(std::int64_t step, std::span<std::byte> batch) {
  if (step > until_) return false;
  if (parts_.stop.asked() && reason_.empty()) reason_ = "signal";
  if (parts_.folder.take_stop_request() && reason_.empty()) reason_ = "STOP";
  if (parts_.folder.take_save_request()) save_ = true;
  if (step > 1 && !reason_.empty()) return false;
  // At least one step between two saves, however often somebody asks.
  if (step > first_ && save_) return false;
  const std::int64_t first = (step - 1) * parts_.config.train.global_batch;
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
  tokens_ += unmasked;
  const std::int64_t first = (report.step - 1) * parts_.config.train.global_batch;
  EventFields skip = guard_.check(report, first);
  done_ = report.step;
  parts_.log.reported({.step = report.step,
                       .loss = loss,
                       .norm = static_cast<double>(report.norm.norm),
                       .lr = parts_.rate.at(report.step - 1),
                       .tokens = tokens_,
                       .skipped = guard_.skipped(),
                       .skip = std::move(skip)});
}

void Trainer::digest(std::int64_t step, std::uint64_t value) { parts_.log.digest(step, value); }

void Trainer::completed(std::int64_t step, const Timeline& timeline) {
  parts_.log.completed(step, timeline);
}

}  // namespace sluice

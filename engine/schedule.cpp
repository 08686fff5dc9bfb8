// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "devices/base/error.h"

namespace sluice {

LearningRate::LearningRate(const ScheduleConfig& schedule, double peak, std::int64_t total_steps)
    : kind_(schedule.kind),
      peak_(peak),
      floor_(schedule.min_lr_ratio),
      warmup_(schedule.warmup_steps) {
  if (kind_ == ScheduleKind::kConstant) return;
  const bool at_end = kind_ == ScheduleKind::kWsd;
  if (total_steps <= 0 && (at_end || !schedule.decay_steps)) {
    throw Error(ErrorKind::kConfig,
                fmt::format("schedule.kind needs the length of the run: set train.steps or "
                            "train.epochs{}, or schedule.kind = \"constant\"",
                            at_end ? "" : ", or schedule.decay_steps"));
  }
  decay_begin_ = warmup_;
  decay_end_ = schedule.decay_steps.value_or(total_steps);
  if (at_end) {
    decay_end_ = total_steps;
    const std::int64_t length =
        schedule.decay_steps.value_or(std::max<std::int64_t>(1, total_steps / 5));
    decay_begin_ = std::max(warmup_, total_steps - length);
  }
}

double LearningRate::at(std::int64_t step) const {
  SLUICE_CHECK(step >= 0);
  return peak_ * factor(step);
}

double LearningRate::factor(std::int64_t step) const {
  if (step < warmup_) return static_cast<double>(step + 1) / static_cast<double>(warmup_ + 1);
  if (kind_ == ScheduleKind::kConstant || step < decay_begin_) return 1;
  if (step >= decay_end_) return floor_;
  const double r =
      static_cast<double>(step - decay_begin_) / static_cast<double>(decay_end_ - decay_begin_);
  const double fall =
      kind_ == ScheduleKind::kCosine ? (1 + std::cos(std::numbers::pi * r)) / 2 : 1 - r;
  return floor_ + (1 - floor_) * fall;
}

}  // namespace sluice

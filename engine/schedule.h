// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The learning rate as a pure function of the step, counted from 0.
//
// Legend   t step, W warmup_steps, T the length of the run, D decay_steps,
//          m min_lr_ratio; the rate is lr times
//   t < W      (t + 1) / (W + 1)
//   constant   1
//   linear     m + (1 - m) * (1 - r)                r = (t - W) / (D - W)
//   cosine     m + (1 - m) * (1 + cos(pi * r)) / 2  as linear
//   wsd        1 until T - D, then linear with      r = (t - (T - D)) / D
// r is at most 1. D is T for linear and cosine, and a fifth of T for wsd, where
// the config does not say. With warm-up this is nanoGPT's formula; Hugging Face's
// linear and cosine reach the same rates one step later.

#include <cstdint>

#include "engine/config/run_config.h"

namespace sluice {

class LearningRate {
 public:
  // total_steps: the length of the run, or 0 where nobody knows it, in which case
  // a kind that decays must have decay_steps and may not be wsd (Error{kConfig}).
  LearningRate(const ScheduleConfig& schedule, double peak, std::int64_t total_steps);

  double at(std::int64_t step) const;

 private:
  double factor(std::int64_t step) const;

  ScheduleKind kind_;
  double peak_, floor_;
  std::int64_t warmup_;
  std::int64_t decay_begin_ = 0, decay_end_ = 0;
};

}  // namespace sluice

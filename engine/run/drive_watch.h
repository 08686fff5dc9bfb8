// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Notices a drive that gets slow while a run goes on: one that throttles, fills up or is
// shared all at once. A plan's forecast does not tell, since it may be wrong from the start;
// a lane is held against its own best steps.

#include <cstdint>
#include <optional>
#include <string>

#include "devices/base/units.h"

namespace sluice {

class DriveWatch {
 public:
  // Slow: so many steps in a row at less than 1/kSlower of the pace before, each busy for
  // kWorth at least.
  static constexpr int kSteps = 3;
  static constexpr double kSlower = 4;
  static constexpr Seconds kWorth{0.05};

  explicit DriveWatch(std::string lane) : lane_(std::move(lane)) {}

  // What the lane moved in a step, and how long it was busy. A line for people the first
  // time that it is slow; nothing after that.
  std::optional<std::string> observe(Bytes moved, Seconds busy);

 private:
  std::string lane_;
  double pace_ = 0;  // bytes per second: of the steps that were not slow, smoothed
  int slow_steps_ = 0;
  bool said_ = false;
};

}  // namespace sluice

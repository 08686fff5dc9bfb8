// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/checkpoint_interval.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "devices/base/format.h"

namespace sluice {

std::int64_t checkpoint_interval(const CheckpointConfig& config, const Plan& plan) {
  constexpr double kLeastSeconds = 60;
  constexpr double kMostSteps = 1e9;
  if (config.every) return *config.every;
  const double step = plan.forecast.step_seconds;
  const double seconds =
      std::max({plan.save.pause_seconds / kMostCheckpointCost, plan.save.seconds, kLeastSeconds});
  return static_cast<std::int64_t>(std::ceil(std::min(seconds / step, kMostSteps)));
}

std::string describe_interval(std::int64_t every, const Plan& plan) {
  const double seconds = static_cast<double>(every) * plan.forecast.step_seconds;
  return fmt::format("a checkpoint every {} steps ({}), {:.2g} % of the time", every,
                     format_seconds(Seconds{seconds}), 100 * plan.save.pause_seconds / seconds);
}

}  // namespace sluice

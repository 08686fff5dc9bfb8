// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How often a run saves.

#include <cstdint>
#include <string>

#include "engine/config/run_config.h"
#include "offload/plan.h"

namespace sluice {

inline constexpr double kMostCheckpointCost = 0.01;  // of the time

// Steps between two checkpoints: checkpoint.every, or as often as costs at most 1 % by the
// forecast, but not more often than once a minute, nor than one can be written.
std::int64_t checkpoint_interval(const CheckpointConfig& config, const Plan& plan);

// "a checkpoint every 120 steps (10 min), 0.8 % of the time".
std::string describe_interval(std::int64_t every, const Plan& plan);

}  // namespace sluice

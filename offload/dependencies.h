// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Derives who waits for whom: two operations that touch overlapping bytes, at
// least one writing, keep their serial order; so do steps t and t+1.

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "offload/program.h"

namespace sluice {

// What an operation waits for, per lane: the latest predecessor in that lane.
// Lanes complete as prefixes, so one number stands for all earlier ones. It counts
// positions in the lane: 0 or more in the same iteration, below 0 (position minus
// the lane's size) in the one before.
struct Waits {
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::min();

  std::array<std::int32_t, kLaneCount> latest = none();

  static constexpr std::array<std::int32_t, kLaneCount> none() {
    std::array<std::int32_t, kLaneCount> all{};
    all.fill(kNone);
    return all;
  }
  bool operator==(const Waits&) const = default;
};

// One entry per operation. Waits on the operation's own lane appear only for lanes
// with depth; elsewhere the lane's order implies them. That no operation of
// iteration i starts before all of iteration i-2 is done is left to the executor.
std::vector<Waits> derive_waits(const Program& program);

}  // namespace sluice

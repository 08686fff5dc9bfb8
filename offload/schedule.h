// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The order in which the compute lane walks through layers and micro-batches.

#include <cstdint>
#include <vector>

#include "offload/placement.h"
#include "offload/workload.h"

namespace sluice {

enum class Pass : std::uint8_t { kForward, kBackward };

// All micro-batches of one wave going through one layer.
struct Visit {
  Pass pass = Pass::kForward;
  std::int32_t layer = 0;
  std::int32_t first_point = 0, last_point = 0;
};

// One forward or backward call.
struct Point {
  std::int32_t visit = 0;
  std::int32_t micro_batch = 0;
};

struct Schedule {
  std::vector<Visit> visits;
  std::vector<Point> points;
  // Point of (layer, micro-batch), -1 where there is none. [layer * micro_batches + m]
  std::vector<std::int32_t> forward_point, backward_point;

  std::int32_t last() const { return static_cast<std::int32_t>(points.size()) - 1; }
  // First point of the visit `ahead` visits before `visit`.
  std::int32_t point_ahead(std::int32_t visit, std::int32_t ahead) const;
};

// Training: forward of all layers but the last, whose backward call computes the
// loss as well; wave by wave. Evaluation: forward of all layers.
Schedule training_schedule(const Workload& workload, int wave);
Schedule evaluation_schedule(const Workload& workload, int wave);

}  // namespace sluice

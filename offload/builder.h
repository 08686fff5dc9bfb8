// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Writes the Program of a step, given every decision. Pure: no machine is touched.

#include "offload/cost_model.h"
#include "offload/placement.h"
#include "offload/program.h"
#include "offload/workload.h"

namespace sluice {

// The training step, with its memory map. The cost model only orders updates that
// run during backward (earliest deadline first).
Program build_training(const Workload& workload, const Placement& placement,
                       const CostModel& costs);

enum class ForwardOutput : std::uint8_t { kLosses, kLogits };

// One pass over the batch without gradients. `with_states` keeps room for optimizer
// state, at the same offsets as in the training program of the same placement, so
// that both programs share one set of arenas.
Program build_forward(const Workload& workload, const Placement& placement, bool with_states,
                      ForwardOutput output);

}  // namespace sluice

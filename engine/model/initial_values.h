// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Random weights to start from.

#include <cstdint>
#include <span>

#include "engine/model/model_shape.h"
#include "offload/workload.h"

namespace sluice {

// Writes elements [first, first + out.size()) of flat parameter `flat`: matrices
// N(0, init_std), the projections that write to the residual stream
// N(0, init_std / sqrt(2 layers)) as GPT-2, norm scales 1, biases and gaps 0.
// Determinism: an element depends on seed, tensor name and index alone.
// Threads: any number may fill different slices.
void initial_values(const Workload& workload, const ModelShape& shape, int flat, std::int64_t first,
                    std::span<float> out, std::uint64_t seed);

}  // namespace sluice

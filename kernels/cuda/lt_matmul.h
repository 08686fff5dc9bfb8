// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Matrix products by cuBLASLt. One handle per process and one plan (descriptors, algorithm)
// per shape, both kept; lt_prepare() makes them before they are used.
//
// Memory       the workspace is the queue's scratch (Queue::lend).
// Determinism  the algorithm is a function of shape, types, strides, the size of the scratch and
//              of what 16 bytes are to the operands' addresses; no sum is shared out over atomics
//              or in place.
// Threads      any.

#include "kernels/kernels.h"

namespace sluice {

// Enqueues the product and returns true, or does nothing and returns false where cuBLASLt has
// no kernel for it. Requires m, n, k > 0.
// Errors: kInternal as cuBLASLt has it.
[[nodiscard]] bool lt_multiply(Queue& queue, const Matmul& a);

// Makes the plan alone. Errors likewise.
void lt_prepare(Queue& queue, const Matmul& a);

}  // namespace sluice

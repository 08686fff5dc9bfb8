// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Attention by cuDNN's graph interface, for bf16. Where cuDNN refuses a shape, or is not there,
// the tiled kernels (attention.cu) do it; what they keep for backward is the same.
//
// Memory       where cuDNN's deterministic backward wants more than the larger of the queue's
//              scratch and the call's own, S x S halves per head on most GPUs, it is run on as
//              many sequences, or heads of one sequence, at a time as fit.
// Determinism  cuDNN's deterministic algorithm, or none of cuDNN's.
// Threads      any.
// cudnn_attention_missing.cpp stands in for a build without cuDNN's front-end headers.

#include <string>

#include "kernels/kernels.h"

namespace sluice {

// Enqueue the call and return true, or do nothing and return false.
// Errors: kInternal as cuDNN has it, for what it had accepted before.
[[nodiscard]] bool cudnn_attend(Queue& queue, const Attention& a);
[[nodiscard]] bool cudnn_attend_backward(Queue& queue, const AttentionBackward& a);

// Choose, and keep, the graphs of such calls alone. Errors likewise.
void cudnn_prepare(Queue& queue, const Attention& a);
void cudnn_prepare(Queue& queue, const AttentionBackward& a);

// "cuDNN 9.19.0", or why it is not used and what would mend it.
std::string cudnn_note();

}  // namespace sluice

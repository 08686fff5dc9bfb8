// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// CUDA's kernels by name, one file each for what belongs together. Contracts are those of
// kernels.h: enqueued on the CudaQueue behind `queue`, done when it gets there.
//
// Errors   Error{kInternal} with CUDA's text where a launch is refused. An index outside its
//          table (embedding, cross-entropy) traps: a bug of the caller's, as on the host.

#include "kernels/kernels.h"

namespace sluice {

void run_on_cuda(Queue& queue, const Matmul& arguments);
void run_on_cuda(Queue& queue, const ColumnSum& arguments);
void run_on_cuda(Queue& queue, const Norm& arguments);
void run_on_cuda(Queue& queue, const NormBackward& arguments);
void run_on_cuda(Queue& queue, const Gelu& arguments);
void run_on_cuda(Queue& queue, const GeluBackward& arguments);
void run_on_cuda(Queue& queue, const SwiGlu& arguments);
void run_on_cuda(Queue& queue, const SwiGluBackward& arguments);
void run_on_cuda(Queue& queue, const Rope& arguments);
void run_on_cuda(Queue& queue, const Attention& arguments);
void run_on_cuda(Queue& queue, const AttentionBackward& arguments);
void run_on_cuda(Queue& queue, const Embedding& arguments);
void run_on_cuda(Queue& queue, const EmbeddingBackward& arguments);
void run_on_cuda(Queue& queue, const CrossEntropy& arguments);
void run_on_cuda(Queue& queue, const Sum& arguments);
void run_on_cuda(Queue& queue, const Add& arguments);
void run_on_cuda(Queue& queue, const Cast& arguments);
void run_on_cuda(Queue& queue, const FillZero& arguments);
void run_on_cuda(Queue& queue, const SquaredNorm& arguments);
void run_on_cuda(Queue& queue, const FinishNorm& arguments);
void run_on_cuda(Queue& queue, const AdamW& arguments);
void run_on_cuda(Queue& queue, const Digest& arguments);

}  // namespace sluice

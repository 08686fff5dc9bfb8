// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The host's kernels called directly, without a queue: what the host_compute lane
// runs (Adam on RAM), and the reference for every other device. Contracts are
// those of kernels.h, except that a call returns when its work is done.

#include "devices/workers.h"
#include "kernels/kernels.h"

namespace sluice {

void run_on_host(Workers& workers, const Matmul& arguments);
void run_on_host(Workers& workers, const ColumnSum& arguments);
void run_on_host(Workers& workers, const Norm& arguments);
void run_on_host(Workers& workers, const NormBackward& arguments);
void run_on_host(Workers& workers, const Gelu& arguments);
void run_on_host(Workers& workers, const GeluBackward& arguments);
void run_on_host(Workers& workers, const SwiGlu& arguments);
void run_on_host(Workers& workers, const SwiGluBackward& arguments);
void run_on_host(Workers& workers, const Rope& arguments);
void run_on_host(Workers& workers, const Attention& arguments);
void run_on_host(Workers& workers, const AttentionBackward& arguments);
void run_on_host(Workers& workers, const Embedding& arguments);
void run_on_host(Workers& workers, const EmbeddingBackward& arguments);
void run_on_host(Workers& workers, const CrossEntropy& arguments);
void run_on_host(Workers& workers, const Sum& arguments);
void run_on_host(Workers& workers, const Add& arguments);
void run_on_host(Workers& workers, const Cast& arguments);
void run_on_host(Workers& workers, const FillZero& arguments);
void run_on_host(Workers& workers, const SquaredNorm& arguments);
void run_on_host(Workers& workers, const FinishNorm& arguments);
void run_on_host(Workers& workers, const AdamW& arguments);
void run_on_host(Workers& workers, const Digest& arguments);
// The sum that it adds to *digest, by the caller alone.
std::uint64_t digest_on_host(const Digest& arguments);

}  // namespace sluice

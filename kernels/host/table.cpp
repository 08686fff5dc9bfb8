// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/host/table.h"

#include "devices/host/host_queue.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

// The arguments travel by value in the queue's ring of closures.
template <typename Arguments>
void enqueue(Queue& queue, const Arguments& arguments) {
  static_cast<HostQueue&>(queue).enqueue(
      [arguments](Workers& workers) { run_on_host(workers, arguments); });
}

}  // namespace

const KernelTable& host_kernels() {
  static const KernelTable table{
      .matmul = enqueue<Matmul>,
      .column_sum = enqueue<ColumnSum>,
      .norm = enqueue<Norm>,
      .norm_backward = enqueue<NormBackward>,
      .gelu = enqueue<Gelu>,
      .gelu_backward = enqueue<GeluBackward>,
      .swiglu = enqueue<SwiGlu>,
      .swiglu_backward = enqueue<SwiGluBackward>,
      .rope = enqueue<Rope>,
      .attention = enqueue<Attention>,
      .attention_backward = enqueue<AttentionBackward>,
      .embedding = enqueue<Embedding>,
      .embedding_backward = enqueue<EmbeddingBackward>,
      .cross_entropy = enqueue<CrossEntropy>,
      .sum = enqueue<Sum>,
      .add = enqueue<Add>,
      .cast = enqueue<Cast>,
      .fill_zero = enqueue<FillZero>,
      .squared_norm = enqueue<SquaredNorm>,
      .finish_norm = enqueue<FinishNorm>,
      .adamw = enqueue<AdamW>,
      .digest = enqueue<Digest>,
  };
  return table;
}

}  // namespace sluice

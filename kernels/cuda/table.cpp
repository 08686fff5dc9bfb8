// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/cuda/table.h"

#include "kernels/cuda/cuda_kernels.h"

namespace sluice {

// Attention by cuDNN will come in here: its entries would look at the shape and call
// run_on_cuda, the tiled kernels, for what cuDNN refuses and for fp32.
const KernelTable& cuda_kernels() {
  static const KernelTable table{
      .matmul = run_on_cuda,
      .column_sum = run_on_cuda,
      .norm = run_on_cuda,
      .norm_backward = run_on_cuda,
      .gelu = run_on_cuda,
      .gelu_backward = run_on_cuda,
      .swiglu = run_on_cuda,
      .swiglu_backward = run_on_cuda,
      .rope = run_on_cuda,
      .attention = run_on_cuda,
      .attention_backward = run_on_cuda,
      .embedding = run_on_cuda,
      .embedding_backward = run_on_cuda,
      .cross_entropy = run_on_cuda,
      .sum = run_on_cuda,
      .add = run_on_cuda,
      .cast = run_on_cuda,
      .fill_zero = run_on_cuda,
      .squared_norm = run_on_cuda,
      .finish_norm = run_on_cuda,
      .adamw = run_on_cuda,
      .digest = run_on_cuda,
  };
  return table;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/cuda/table.h"

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/lt_matmul.h"

namespace sluice {
namespace {

using namespace literals;

void attend(Queue& queue, const Attention& a) {
  if (!cudnn_attend(queue, a)) run_on_cuda(queue, a);
}

void attend_backward(Queue& queue, const AttentionBackward& a) {
  if (!cudnn_attend_backward(queue, a)) run_on_cuda(queue, a);
}

// One small call of each library: handles, code and what else comes with the first one.
void load(Accelerator& accelerator) {
  constexpr std::int64_t kSize = 64;
  constexpr Bytes kMatrix = {4 * kSize * kSize};
  constexpr int kMatrices = 12;
  const auto arena = accelerator.reserve_device(kCudaScratch + kMatrix * kMatrices);
  const auto queue = accelerator.create_queue(QueueKind::kCompute, 2);
  queue->lend({arena->base(), kCudaScratch});
  const auto matrix = [&](int index) {
    return arena->base() + (kCudaScratch + kMatrix * index).value;
  };
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    run_on_cuda(*queue, Matmul{.m = kSize,
                               .n = kSize,
                               .k = kSize,
                               .a = matrix(0),
                               .a_stride = kSize,
                               .b = matrix(1),
                               .b_stride = kSize,
                               .c = matrix(2),
                               .c_stride = kSize,
                               .dtype = dtype,
                               .output = dtype});
  }
  const Attention forward{.sequences = 1,
                          .length = kSize,
                          .heads = 1,
                          .kv_heads = 1,
                          .head_width = kSize,
                          .q = matrix(0),
                          .k = matrix(1),
                          .v = matrix(2),
                          .q_stride = kSize,
                          .k_stride = kSize,
                          .v_stride = kSize,
                          .out = matrix(3),
                          .out_stride = kSize,
                          .log_sum = reinterpret_cast<float*>(matrix(4)),
                          .dtype = DType::kBFloat16};
  attend(*queue, forward);
  // Its scratch takes two matrices: the width of a head and one more column.
  attend_backward(*queue, {.forward = forward,
                           .dout = matrix(5),
                           .dout_stride = kSize,
                           .dq = matrix(6),
                           .dk = matrix(7),
                           .dv = matrix(8),
                           .dq_stride = kSize,
                           .dk_stride = kSize,
                           .dv_stride = kSize,
                           .scratch = reinterpret_cast<float*>(matrix(9))});
  queue->synchronize(queue->mark());
}

// Our own kernels leave nothing to choose.
const KernelTable& rehearsal() {
  static const KernelTable table = [] {
    KernelTable choosing = idle_kernels();
    choosing.matmul = lt_prepare;
    choosing.attention = cudnn_prepare;
    choosing.attention_backward = cudnn_prepare;
    return choosing;
  }();
  return table;
}

}  // namespace

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
      .attention = attend,
      .attention_backward = attend_backward,
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
      .load = load,
      .rehearsal = &rehearsal(),
  };
  return table;
}

std::vector<std::string> cuda_kernel_notes() { return {"attention: " + cudnn_note()}; }

}  // namespace sluice

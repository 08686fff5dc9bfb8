// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <cmath>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/softmax_math.h"

namespace sluice {
namespace {

constexpr int kThreads = 512;

// One row, by a whole block. Each thread writes only elements that it alone reads, but for the
// target's, which all have read before the block's first barrier.
template <typename T>
__device__ void cross_entropy_row(const CrossEntropy& a, std::int64_t row) {
  T* x = static_cast<T*>(a.logits) + row * a.stride;
  const std::int64_t target = a.targets[row];
  if (target < 0) {
    if (threadIdx.x == 0) a.loss[row] = 0;
    for (std::int64_t i = threadIdx.x; a.backward && i < a.vocabulary; i += kThreads) x[i] = T{};
    return;
  }
  device_check(target < a.vocabulary);
  const float at_target = loaded(x[target]);
  float maximum = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < a.vocabulary; i += kThreads) {
    maximum = Larger{}(maximum, loaded(x[i]));
  }
  maximum = block_maximum<kThreads>(maximum);
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < a.vocabulary; i += kThreads) {
    sum += softmax_term(loaded(x[i]), maximum);
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) a.loss[row] = std::log(sum) - (at_target - maximum);
  if (!a.backward) return;
  const float scale = *a.scale;
  const float reciprocal = 1.0F / sum;
  for (std::int64_t i = threadIdx.x; i < a.vocabulary; i += kThreads) {
    const float probability = softmax_term(loaded(x[i]), maximum) * reciprocal;
    store(cross_entropy_gradient(probability, i == target, scale), &x[i]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(CrossEntropy a) {
  for (std::int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    cross_entropy_row<T>(a, row);
  }
}

}  // namespace

void run_on_cuda(Queue& queue, const CrossEntropy& a) {
  if (a.rows == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "cross_entropy", {grid_for(a.rows), kThreads}, cross_entropy_kernel<T>, a);
  });
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <cmath>

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/digest_math.h"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kSumThreads = 1024;

template <typename T>
struct ElementTerm {
  const T* x;
  std::int64_t stride;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    return loaded(x[row * stride + column]);
  }
};

// One block: losses of a micro-batch are few. In double, as on the host.
__global__ void __launch_bounds__(kSumThreads) sum_kernel(Sum a) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < a.count; i += kSumThreads) {
    sum += static_cast<double>(a.x[i]);
  }
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) {
    *a.total = static_cast<float>((a.accumulate ? static_cast<double>(*a.total) : 0.0) + sum);
  }
}

// The order of the host's lane_sum, and so its bits: 16 threads per chunk of kNormChunk, thread
// j adding elements j, j + 16, ... A norm is then the same wherever its gradients are.
template <typename T>
__global__ void squared_norm_kernel(SquaredNorm a, std::int64_t chunks) {
  constexpr int kLanes = 16;
  const T* x = static_cast<const T*>(a.x);
  const std::int64_t lane = threadIdx.x % kLanes;
  const std::int64_t step = grid_threads() / kLanes;
  // All threads of a warp go round equally often: they meet in the shuffles.
  for (std::int64_t base = grid_thread() / 32 * 2; base < chunks; base += step) {
    const std::int64_t chunk = base + threadIdx.x % 32 / kLanes;
    const std::int64_t end = std::min(a.count, (chunk + 1) * kNormChunk);
    double sum = 0;
#pragma unroll 8
    for (std::int64_t i = chunk * kNormChunk + lane; i < end; i += kLanes) {
      const auto v = static_cast<double>(loaded(x[i]));
      sum += v * v;
    }
    sum = lanes_reduced<kLanes>(sum, Plus{});
    if (lane == 0 && chunk < chunks) a.partials[chunk] = sum;
  }
}

// One thread adds, in order; the block's others fetch for it.
__global__ void __launch_bounds__(kThreads) finish_norm_kernel(FinishNorm a) {
  __shared__ double window[kThreads];
  double total = 0;
  std::int32_t bad_partial = 0;
  for (std::int64_t first = 0; first < a.count; first += kThreads) {
    const std::int64_t i = first + threadIdx.x;
    __syncthreads();  // the window before is used up
    window[threadIdx.x] = i < a.count ? a.partials[i] : 0.0;
    __syncthreads();
    const std::int64_t filled = std::min(std::int64_t{kThreads}, a.count - first);
    for (std::int64_t j = 0; threadIdx.x == 0 && j < filled; ++j) {
      total += window[j];
      if (!std::isfinite(window[j])) bad_partial = static_cast<std::int32_t>(first + j + 1);
    }
  }
  if (threadIdx.x != 0) return;
  NormResult result;
  result.bad_partial = bad_partial;
  result.norm = static_cast<float>(std::sqrt(total));
  result.finite = std::isfinite(result.norm) ? 1 : 0;
  if (a.clip > 0) result.scale = std::min(1.0F, a.clip / (result.norm + 1e-6F));
  *a.result = result;
}

// Addition modulo 2^64 has no order, so an atomic one changes no bits.
template <typename T>
__global__ void __launch_bounds__(kThreads) digest_kernel(Digest a) {
  const T* x = static_cast<const T*>(a.x);
  unsigned long long sum = 0;
  for (std::int64_t i = grid_thread(); i < a.count; i += grid_threads()) {
    sum += digest_mix(a.salt, static_cast<std::uint64_t>(a.first + i), bits_of(x[i]));
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) atomicAdd(reinterpret_cast<unsigned long long*>(a.digest), sum);
}

}  // namespace

void run_on_cuda(Queue& queue, const ColumnSum& a) {
  for_type(a.dtype, [&]<typename T>(T) {
    sum_columns(
        queue,
        {.rows = a.rows, .n = a.n, .chunk = a.rows, .to = a.gradient, .accumulate = a.accumulate},
        ElementTerm<T>{typed<T>(a.x), a.stride});
  });
}

void run_on_cuda(Queue& queue, const Sum& a) {
  launch(queue, "sum", {1, kSumThreads}, sum_kernel, a);
}

void run_on_cuda(Queue& queue, const SquaredNorm& a) {
  const std::int64_t chunks = norm_chunks(a.count);
  if (chunks == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "squared_norm", {grid_for(chunks, kThreads / 16), kThreads},
           squared_norm_kernel<T>, a, chunks);
  });
}

void run_on_cuda(Queue& queue, const FinishNorm& a) {
  launch(queue, "finish_norm", {1, kThreads}, finish_norm_kernel, a);
}

void run_on_cuda(Queue& queue, const Digest& a) {
  if (a.count == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "digest", {grid_for(a.count, kThreads), kThreads}, digest_kernel<T>, a);
  });
}

}  // namespace sluice

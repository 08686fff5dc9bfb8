// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Sums and maxima over a block, the same on every thread of it. The order of additions is
// fixed by the thread's index.

#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace sluice {

inline constexpr unsigned kAllLanes = 0xffffffffU;

struct Plus {
  template <typename Number>
  __device__ Number operator()(Number a, Number b) const {
    return a + b;
  }
};

struct Larger {
  __device__ float operator()(float a, float b) const { return a < b ? b : a; }  // passes NaN over
};

// Over groups of kWidth neighbours (a power of two up to 32). Both partners of an exchange add
// the same two numbers, so all lanes hold the same bits.
template <int kWidth, typename Operation, typename Number>
__device__ Number lanes_reduced(Number x, Operation operation) {
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) {
    x = operation(x, __shfl_xor_sync(kAllLanes, x, offset, kWidth));
  }
  return x;
}

// Called by all kThreads threads of a block (a multiple of 32, up to 1,024).
template <int kThreads, typename Operation, typename Number>
__device__ Number block_reduced(Number x, Number neutral, Operation operation) {
  constexpr int kWarps = kThreads / 32;
  static_assert(kThreads % 32 == 0 && kWarps <= 32);
  __shared__ Number warps[kWarps];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  x = lanes_reduced<32>(x, operation);
  __syncthreads();  // `warps` may still be read by the call before
  if (lane == 0) warps[warp] = x;
  __syncthreads();
  return lanes_reduced<32>(lane < kWarps ? warps[lane] : neutral, operation);
}

template <int kThreads, typename Number>
__device__ Number block_sum(Number x) {
  return block_reduced<kThreads>(x, Number{0}, Plus{});
}

template <int kThreads>
__device__ float block_maximum(float x) {
  return block_reduced<kThreads>(x, -INFINITY, Larger{});
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <cmath>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/rope_math.h"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxHalf = 256;

// Rotates the pairs of all heads of row `t` by the angles in shared memory.
template <typename T>
__device__ void rope_row(const Rope& a, std::int64_t t, const float* cosine, const float* sine) {
  const auto half = static_cast<int>(a.head_width / 2);
  T* row = static_cast<T*>(a.x) + t * a.stride;
  for (std::int64_t pair = threadIdx.x; pair < a.heads * half; pair += kThreads) {
    const std::int64_t head = pair / half;
    const auto i = static_cast<int>(pair % half);
    T& low = row[head * a.head_width + i];
    T& high = row[head * a.head_width + half + i];
    const RopePair rotated = rope_rotated(loaded(low), loaded(high), cosine[i], sine[i]);
    store(rotated.low, &low);
    store(rotated.high, &high);
  }
}

// By position, not by row: the sines of a position serve all its sequences.
template <typename T>
__global__ void rope_kernel(Rope a, std::int64_t positions) {
  __shared__ float cosine[kMaxHalf];
  __shared__ float sine[kMaxHalf];
  for (std::int64_t position = blockIdx.x; position < positions; position += gridDim.x) {
    __syncthreads();  // the angles before are used up
    for (std::int64_t i = threadIdx.x; i < a.head_width / 2; i += kThreads) {
      const double angle =
          static_cast<double>(position) * rope_frequency(a.theta, a.scaling, i, a.head_width);
      cosine[i] = static_cast<float>(std::cos(angle));
      sine[i] = static_cast<float>(a.inverse ? -std::sin(angle) : std::sin(angle));
    }
    __syncthreads();
    for (std::int64_t t = position; t < a.tokens; t += a.length) rope_row<T>(a, t, cosine, sine);
  }
}

}  // namespace

void run_on_cuda(Queue& queue, const Rope& a) {
  SLUICE_CHECK(a.head_width % 2 == 0 && a.head_width / 2 <= kMaxHalf);
  if (a.tokens == 0) return;
  SLUICE_CHECK(a.length >= 1);
  const std::int64_t positions = std::min(a.length, a.tokens);
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "rope", {grid_for(positions), kThreads}, rope_kernel<T>, a, positions);
  });
}

}  // namespace sluice

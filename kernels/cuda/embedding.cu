// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 4;  // per thread of a slab in backward
constexpr std::int64_t kSlab = kThreads * kColumns;

template <typename T>
__global__ void embedding_kernel(Embedding a) {
  const T* tokens = static_cast<const T*>(a.token_table);
  const T* positions = static_cast<const T*>(a.position_table);
  T* out = static_cast<T*>(a.out);
  for (std::int64_t t = blockIdx.x; t < a.tokens; t += gridDim.x) {
    const std::int64_t id = a.ids[t];
    device_check(id >= 0 && id < a.vocabulary);
    for (std::int64_t i = threadIdx.x; i < a.width; i += kThreads) {
      const T& token = tokens[id * a.width + i];
      if (positions == nullptr) {
        out[t * a.width + i] = token;
      } else {
        store(loaded(token) + loaded(positions[t % a.length * a.width + i]), &out[t * a.width + i]);
      }
    }
  }
}

// Whether an earlier token has the id of token `t`. The same answer on all threads.
__device__ bool seen_before(const std::int32_t* ids, std::int64_t t) {
  bool seen = false;
  for (std::int64_t first = 0; first < t && !seen; first += kThreads) {
    const std::int64_t s = first + threadIdx.x;
    seen = __syncthreads_or(s < t && ids[s] == ids[t]) != 0;
  }
  return seen;
}

// The part of one token id in columns of one slab: the block of its first token adds the rows
// of all its tokens, in order. Costs a look at all ids per different id, and no scratch.
template <typename T>
__device__ void add_rows_of_id(const EmbeddingBackward& a, std::int64_t t, std::int64_t column) {
  __shared__ unsigned matches[kThreads / 32];  // a bit per token of the window
  const T* dout = static_cast<const T*>(a.dout);
  const std::int64_t id = a.ids[t];
  float* gradient = a.token_gradient + id * a.width;
  float sum[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const std::int64_t i = column + c * kThreads;
    sum[c] = i < a.width ? gradient[i] : 0.0F;
  }
  for (std::int64_t window = t; window < a.tokens; window += kThreads) {
    const std::int64_t s = window + threadIdx.x;
    const unsigned mine = __ballot_sync(0xffffffffU, s < a.tokens && a.ids[s] == id);
    __syncthreads();  // the window before is done
    if (threadIdx.x % 32 == 0) matches[threadIdx.x / 32] = mine;
    __syncthreads();
    for (int warp = 0; warp < kThreads / 32; ++warp) {
      for (unsigned left = matches[warp]; left != 0; left &= left - 1) {
        const T* row = dout + (window + warp * 32 + __ffs(static_cast<int>(left)) - 1) * a.width;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const std::int64_t i = column + c * kThreads;
          if (i < a.width) sum[c] += loaded(row[i]);
        }
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const std::int64_t i = column + c * kThreads;
    if (i < a.width) gradient[i] = sum[c];
  }
}

// A block takes (slab of columns, token) after (slab, token), fixed by its index.
template <typename T>
__global__ void token_gradient_kernel(EmbeddingBackward a, std::int64_t slabs) {
  for (std::int64_t unit = blockIdx.x; unit < a.tokens * slabs; unit += gridDim.x) {
    const std::int64_t t = unit / slabs;
    device_check(a.ids[t] >= 0 && a.ids[t] < a.vocabulary);
    if (seen_before(a.ids, t)) continue;
    add_rows_of_id<T>(a, t, unit % slabs * kSlab + threadIdx.x);
  }
}

// One element of the position table per thread: its tokens in order.
template <typename T>
__global__ void position_gradient_kernel(EmbeddingBackward a, std::int64_t positions) {
  const T* dout = static_cast<const T*>(a.dout);
  for (std::int64_t i = grid_thread(); i < positions * a.width; i += grid_threads()) {
    float sum = a.position_gradient[i];
    for (std::int64_t t = i / a.width; t < a.tokens; t += a.length) {
      sum += loaded(dout[t * a.width + i % a.width]);
    }
    a.position_gradient[i] = sum;
  }
}

void clear(Queue& queue, float* gradient, std::int64_t elements) {
  run_on_cuda(queue, FillZero{gradient, bytes_of(DType::kFloat32, elements)});
}

}  // namespace

void run_on_cuda(Queue& queue, const Embedding& a) {
  if (a.tokens == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "embedding", {grid_for(a.tokens), kThreads}, embedding_kernel<T>, a);
  });
}

void run_on_cuda(Queue& queue, const EmbeddingBackward& a) {
  if (!a.accumulate) {
    clear(queue, a.token_gradient, a.vocabulary * a.width);
    if (a.position_gradient != nullptr) clear(queue, a.position_gradient, a.positions * a.width);
  }
  if (a.tokens == 0 || a.width == 0) return;
  const std::int64_t slabs = divide_up(a.width, kSlab);
  const std::int64_t positions = std::min(a.length, a.tokens);
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "embedding_backward of tokens", {grid_for(a.tokens * slabs), kThreads},
           token_gradient_kernel<T>, a, slabs);
    if (a.position_gradient == nullptr) return;
    launch(queue, "embedding_backward of positions",
           {grid_for(positions * a.width, kThreads), kThreads}, position_gradient_kernel<T>, a,
           positions);
  });
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/lt_matmul.h"

namespace sluice {
namespace {

// A plain tiled product, for what cuBLASLt refuses: fp32 rounded to bf16, a bias of another type
// than the result's, operands at odd addresses, k = 0. Correct, not fast.
constexpr int kThreads = 256;  // 16 x 16, each with 4 x 4 elements of c
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kStride = kTile + 4;

// Element (row, column) is data[row * stride + column], or, transposed,
// data[column * stride + row].
template <typename T>
struct Operand {
  const T* data;
  std::int64_t stride;
  bool transposed;

  __device__ float at(std::int64_t row, std::int64_t column) const {
    return loaded(transposed ? data[column * stride + row] : data[row * stride + column]);
  }
};

// What an element of c starts from.
template <typename T, typename Output>
__device__ float start_of(const Matmul& a, std::int64_t row, std::int64_t column) {
  const float start =
      a.accumulate ? loaded(static_cast<const Output*>(a.c)[row * a.c_stride + column]) : 0.0F;
  return a.bias == nullptr ? start : start + loaded(static_cast<const T*>(a.bias)[column]);
}

// Each element of c is one chain of fused multiply-adds along k, added to what it starts from.
template <typename T, typename Output>
__global__ void __launch_bounds__(kThreads) tiled_kernel(Matmul a, std::int64_t across) {
  __shared__ float left[kDepth][kStride];   // transposed: [k][row]
  __shared__ float right[kDepth][kStride];  // [k][column]
  const Operand<T> from_a{static_cast<const T*>(a.a), a.a_stride, a.a_transposed};
  const Operand<T> from_b{static_cast<const T*>(a.b), a.b_stride, a.b_transposed};
  const std::int64_t row = blockIdx.x / across * kTile;
  const std::int64_t column = blockIdx.x % across * kTile;
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  float sum[4][4] = {};
  for (std::int64_t k = 0; k < a.k; k += kDepth) {
    __syncthreads();  // the tiles before are used up
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kThreads) {
      // Neighbouring threads read neighbouring memory, however an operand lies.
      const int a_row = a.a_transposed ? i % kTile : i / kDepth;
      const int a_k = a.a_transposed ? i / kTile : i % kDepth;
      const int b_column = a.b_transposed ? i / kDepth : i % kTile;
      const int b_k = a.b_transposed ? i % kDepth : i / kTile;
      left[a_k][a_row] =
          row + a_row < a.m && k + a_k < a.k ? from_a.at(row + a_row, k + a_k) : 0.0F;
      right[b_k][b_column] =
          column + b_column < a.n && k + b_k < a.k ? from_b.at(k + b_k, column + b_column) : 0.0F;
    }
    __syncthreads();
    for (int d = 0; d < kDepth; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sum[i][j] = fused(left[d][4 * ty + i], right[d][4 * tx + j], sum[i][j]);
        }
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const std::int64_t r = row + 4 * ty + i;
      const std::int64_t c = column + 4 * tx + j;
      if (r >= a.m || c >= a.n) continue;
      store(start_of<T, Output>(a, r, c) + sum[i][j],
            &static_cast<Output*>(a.c)[r * a.c_stride + c]);
    }
  }
}

void tiled_multiply(Queue& queue, const Matmul& a) {
  const std::int64_t across = divide_up(a.n, kTile);
  const std::int64_t blocks = across * divide_up(a.m, kTile);
  for_type(a.dtype, [&]<typename T>(T) {
    for_type(a.output, [&]<typename Output>(Output) {
      launch(queue, "matmul", {blocks, kThreads}, tiled_kernel<T, Output>, a, across);
    });
  });
}

}  // namespace

void run_on_cuda(Queue& queue, const Matmul& a) {
  if (a.m == 0 || a.n == 0) return;
  if (a.k > 0 && lt_multiply(queue, a)) return;
  tiled_multiply(queue, a);
}

}  // namespace sluice

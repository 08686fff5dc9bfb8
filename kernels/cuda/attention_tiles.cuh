// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The tiles that attention's forward and backward are made of: kRows x kRows scores of one head,
// and operands of kRows rows of kWidth elements, fp32 in shared memory, zero where the head is
// narrower than kWidth or the sequence ends. A block of 16 x 16 threads works on them; thread
// (ty, tx) has
//   scores   of rows ty * kPerThread + i and columns tx + 16 * j,
//   sums     of rows ty * kPerThread + i and columns 64 * c + 4 * tx + 0..3,
// so the 16 threads of a row of scores are neighbours in one warp.
//
// Determinism  every sum is a chain of fused multiply-adds in the order of its index.

#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/kernels.h"

namespace sluice {

inline constexpr int kAttentionThreads = 256;
inline constexpr std::int64_t kWidestHead = 256;

// kRows_ is less in backward, whose wide heads would not fit shared memory otherwise: 99 KiB
// are what a block has on sm_86 and sm_89.
template <int kWidth_, int kRows_>
struct TileShape {
  static constexpr int kWidth = kWidth_;
  static constexpr int kRows = kRows_;
  static constexpr int kPerThread = kRows / 16;      // rows, and columns of scores
  static constexpr int kChunks = kWidth / 64;        // of four columns of sums
  static constexpr int kOperandStride = kWidth + 4;  // rows 16 bytes apart in the banks
  static constexpr int kScoreStride = kRows + 4;
  static constexpr int kOperand = kRows * kOperandStride;  // floats of a tile
  static constexpr int kScores = kRows * kScoreStride;

  // Shared memory of `operands` tiles and one of scores.
  static constexpr int bytes(int operands) {
    return (operands * kOperand + kScores) * static_cast<int>(sizeof(float));
  }
};

// The rows of one head of one sequence: element (row, column) is data[row * stride + column].
template <typename T>
struct HeadRows {
  T* data;
  std::int64_t stride;
};

template <typename T>
__device__ HeadRows<T> head_rows(T* base, std::int64_t stride, const Attention& a,
                                 std::int64_t sequence, std::int64_t head) {
  return {base + sequence * a.length * stride + head * a.head_width, stride};
}

// Rows [first, first + kRows) to shared memory. Followed by a barrier.
template <typename Tile, typename T>
__device__ void load_tile(const HeadRows<const T>& from, std::int64_t first, std::int64_t length,
                          std::int64_t width, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows * Tile::kWidth;
       i += kAttentionThreads) {
    const int row = i / Tile::kWidth;
    const int column = i % Tile::kWidth;
    const bool inside = first + row < length && column < width;
    to[row * Tile::kOperandStride + column] =
        inside ? loaded(from.data[(first + row) * from.stride + column]) : 0.0F;
  }
}

template <typename Tile>
using Scores = float[Tile::kPerThread][Tile::kPerThread];
template <typename Tile>
using Sums = float4[Tile::kPerThread][Tile::kChunks];

__device__ inline const float4& four(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}

__device__ inline float dot_added(const float4& a, const float4& b, float sum) {
  return fused(a.w, b.w, fused(a.z, b.z, fused(a.y, b.y, fused(a.x, b.x, sum))));
}

__device__ inline void add_scaled(float s, const float4& x, float4& to) {
  to.x = fused(s, x.x, to.x);
  to.y = fused(s, x.y, to.y);
  to.z = fused(s, x.z, to.z);
  to.w = fused(s, x.w, to.w);
}

// scores[i][j] = row i of `a` times row j of `b`.
template <typename Tile>
__device__ void multiply_rows(const float* a, const float* b, Scores<Tile>& scores) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
  const float* rows = a + ty * Tile::kPerThread * Tile::kOperandStride;
  const float* columns = b + tx * Tile::kOperandStride;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) scores[i][j] = 0.0F;
  }
#pragma unroll 4
  for (int d = 0; d < Tile::kWidth; d += 4) {
    float4 right[Tile::kPerThread];
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      right[j] = four(columns + 16 * j * Tile::kOperandStride + d);
    }
#pragma unroll
    for (int i = 0; i < Tile::kPerThread; ++i) {
      const float4 left = four(rows + i * Tile::kOperandStride + d);
#pragma unroll
      for (int j = 0; j < Tile::kPerThread; ++j) {
        scores[i][j] = dot_added(left, right[j], scores[i][j]);
      }
    }
  }
}

// sums += weights[kRows][kRows] (shared) times the rows of `b`.
template <typename Tile>
__device__ void add_product(const float* weights, const float* b, Sums<Tile>& sums) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 2
  for (int k = 0; k < Tile::kRows; k += 4) {
    float4 weight[Tile::kPerThread];
#pragma unroll
    for (int i = 0; i < Tile::kPerThread; ++i) {
      weight[i] = four(weights + (ty * Tile::kPerThread + i) * Tile::kScoreStride + k);
    }
#pragma unroll
    for (int c = 0; c < Tile::kChunks; ++c) {
      const float* column = b + k * Tile::kOperandStride + 64 * c + 4 * tx;
      const float4 x = four(column);
      const float4 y = four(column + Tile::kOperandStride);
      const float4 z = four(column + 2 * Tile::kOperandStride);
      const float4 w = four(column + 3 * Tile::kOperandStride);
#pragma unroll
      for (int i = 0; i < Tile::kPerThread; ++i) {
        add_scaled(weight[i].x, x, sums[i][c]);
        add_scaled(weight[i].y, y, sums[i][c]);
        add_scaled(weight[i].z, z, sums[i][c]);
        add_scaled(weight[i].w, w, sums[i][c]);
      }
    }
  }
}

template <typename Tile>
__device__ void clear(Sums<Tile>& sums) {
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
#pragma unroll
    for (int c = 0; c < Tile::kChunks; ++c) sums[i][c] = float4{0, 0, 0, 0};
  }
}

// Scores to shared memory, as weights for add_product. Followed by a barrier.
template <typename Tile>
__device__ void put_scores(const Scores<Tile>& scores, float* to) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      to[(ty * Tile::kPerThread + i) * Tile::kScoreStride + tx + 16 * j] = scores[i][j];
    }
  }
}

// Likewise with rows and columns exchanged.
template <typename Tile>
__device__ void put_transposed(const Scores<Tile>& scores, float* to) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      to[(tx + 16 * j) * Tile::kScoreStride + ty * Tile::kPerThread + i] = scores[i][j];
    }
  }
}

// Row i of the sums times factor[i], to row first + its own, as far as the head goes.
template <typename Tile, typename T>
__device__ void store_sums(const Sums<Tile>& sums, const float (&factor)[Tile::kPerThread],
                           const HeadRows<T>& to, std::int64_t first, std::int64_t length,
                           std::int64_t width) {
  const int tx = static_cast<int>(threadIdx.x) % 16;
  const int ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    const std::int64_t row = first + ty * Tile::kPerThread + i;
    if (row >= length) continue;
#pragma unroll
    for (int c = 0; c < Tile::kChunks; ++c) {
      const std::int64_t column = 64 * c + 4 * tx;
      const float4& x = sums[i][c];
      T* at = to.data + row * to.stride + column;
      if (column + 0 < width) store(x.x * factor[i], at);
      if (column + 1 < width) store(x.y * factor[i], at + 1);
      if (column + 2 < width) store(x.z * factor[i], at + 2);
      if (column + 3 < width) store(x.w * factor[i], at + 3);
    }
  }
}

// What a block is lent at its launch, for tiles.
extern __shared__ float4 lent_memory[];
__device__ inline float* shared_memory() { return reinterpret_cast<float*>(lent_memory); }

// Blocks of kAttentionThreads, and the shared memory of each, which is above what a kernel has
// unasked.
struct TileGrid {
  std::int64_t blocks;
  int shared;
};

template <typename... Parameters, typename... Arguments>
void launch_tiled(Queue& queue, const char* name, const TileGrid& grid,
                  void (*kernel)(Parameters...), const Arguments&... arguments) {
  static_cast<void>(stream_of(queue));  // the device that it is allowed on
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, grid.shared),
             "give attention its shared memory");
  launch(queue, name, {grid.blocks, kAttentionThreads, grid.shared}, kernel, arguments...);
}

inline void check_tiled(const Attention& a) {
  SLUICE_CHECK(a.kv_heads > 0 && a.heads % a.kv_heads == 0);
  SLUICE_CHECK(a.head_width <= kWidestHead);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <cmath>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/softmax_math.h"

namespace sluice {
namespace {

// The running softmax of this thread's rows, the same on the 16 threads of a row.
template <typename Tile>
struct RunningRows {
  float maximum[Tile::kPerThread];
  float sum[Tile::kPerThread];
};

// Turns scores into exp(score - maximum), 0 where masked, and corrects the rows' sums and
// outputs for new maxima. `first_row` - `first_key` is the tile's distance from the diagonal.
template <typename Tile>
__device__ void absorb(const Attention& a, std::int64_t first_row, std::int64_t first_key,
                       Scores<Tile>& scores, RunningRows<Tile>& rows, Sums<Tile>& out) {
  const std::int64_t tx = threadIdx.x % 16;
  const std::int64_t ty = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    const std::int64_t row = first_row + ty * Tile::kPerThread + i;
    float maximum = rows.maximum[i];
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      const std::int64_t key = first_key + tx + 16 * j;
      scores[i][j] = key <= row && key < a.length ? scores[i][j] * a.scale : -INFINITY;
      maximum = Larger{}(maximum, scores[i][j]);
    }
    maximum = lanes_reduced<16>(maximum, Larger{});
    float sum = 0;
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      scores[i][j] = softmax_term(scores[i][j], maximum);  // 0 where masked
      sum += scores[i][j];
    }
    const float correction = softmax_term(rows.maximum[i], maximum);
    rows.sum[i] = rows.sum[i] * correction + lanes_reduced<16>(sum, Plus{});
    rows.maximum[i] = maximum;
#pragma unroll
    for (int c = 0; c < Tile::kChunks; ++c) {
      float4& x = out[i][c];
      x = {x.x * correction, x.y * correction, x.z * correction, x.w * correction};
    }
  }
}

// One tile of queries of one head: every key tile up to the diagonal, in order. Keys and values
// take turns in one tile of shared memory.
template <typename Tile, typename T>
__global__ void __launch_bounds__(kAttentionThreads)
    attention_kernel(Attention a, std::int64_t tiles) {
  float* q = shared_memory();
  float* kv = q + Tile::kOperand;
  float* weights = kv + Tile::kOperand;

  const std::int64_t head = blockIdx.x % (a.sequences * a.heads);
  const std::int64_t sequence = head / a.heads;
  const std::int64_t h = head % a.heads;
  const std::int64_t g = h / (a.heads / a.kv_heads);
  // The longest rows first, so that no multiprocessor ends with one of them alone.
  const std::int64_t first = (tiles - 1 - blockIdx.x / (a.sequences * a.heads)) * Tile::kRows;
  const auto keys = head_rows(static_cast<const T*>(a.k), a.k_stride, a, sequence, g);
  const auto values = head_rows(static_cast<const T*>(a.v), a.v_stride, a, sequence, g);

  load_tile<Tile>(head_rows(static_cast<const T*>(a.q), a.q_stride, a, sequence, h), first,
                  a.length, a.head_width, q);
  RunningRows<Tile> rows;
  Sums<Tile> out;
  Scores<Tile> scores;
  clear<Tile>(out);
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    rows.maximum[i] = -INFINITY;
    rows.sum[i] = 0;
  }
  for (std::int64_t key = 0; key <= first; key += Tile::kRows) {
    __syncthreads();  // the values before are used up
    load_tile<Tile>(keys, key, a.length, a.head_width, kv);
    __syncthreads();
    multiply_rows<Tile>(q, kv, scores);
    absorb<Tile>(a, first, key, scores, rows, out);
    __syncthreads();  // the keys are used up
    put_scores<Tile>(scores, weights);
    load_tile<Tile>(values, key, a.length, a.head_width, kv);
    __syncthreads();
    add_product<Tile>(weights, kv, out);
  }
  float reciprocal[Tile::kPerThread];
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    const std::int64_t row = first + threadIdx.x / 16 * Tile::kPerThread + i;
    reciprocal[i] = 1.0F / rows.sum[i];
    if (threadIdx.x % 16 == 0 && row < a.length) {
      a.log_sum[head * a.length + row] = log_of_sum(rows.maximum[i], rows.sum[i]);
    }
  }
  store_sums<Tile>(out, reciprocal, head_rows(static_cast<T*>(a.out), a.out_stride, a, sequence, h),
                   first, a.length, a.head_width);
}

template <typename Tile>
void launch_for(Queue& queue, const Attention& a) {
  const std::int64_t tiles = divide_up(a.length, Tile::kRows);
  for_type(a.dtype, [&]<typename T>(T) {
    launch_tiled(queue, "attention", {tiles * a.sequences * a.heads, Tile::bytes(2)},
                 attention_kernel<Tile, T>, a, tiles);
  });
}

}  // namespace

void run_on_cuda(Queue& queue, const Attention& a) {
  check_tiled(a);
  if (a.sequences * a.heads * a.length == 0) return;
  if (a.head_width <= 64) {
    launch_for<TileShape<64, 64>>(queue, a);
  } else if (a.head_width <= 128) {
    launch_for<TileShape<128, 64>>(queue, a);
  } else {
    launch_for<TileShape<256, 32>>(queue, a);
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <cmath>

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/softmax_math.h"

// Two passes, so that no two blocks add to one gradient: dq by tiles of queries, dk and dv by
// tiles of keys. Both make the probabilities again from the kept log_sum.

namespace sluice {
namespace {

// delta[sequence, head, row] = dout . out, a warp per row of a head.
template <typename T>
__global__ void __launch_bounds__(kAttentionThreads)
    delta_kernel(AttentionBackward b, std::int64_t rows) {
  const Attention& a = b.forward;
  const std::int64_t lane = threadIdx.x % 32;
  for (std::int64_t i = grid_thread() / 32; i < rows; i += grid_threads() / 32) {
    const std::int64_t row = i % a.length;
    const std::int64_t sequence = i / a.length / a.heads;
    const std::int64_t head = i / a.length % a.heads;
    const auto out = head_rows(static_cast<const T*>(a.out), a.out_stride, a, sequence, head);
    const auto dout = head_rows(static_cast<const T*>(b.dout), b.dout_stride, a, sequence, head);
    float sum = 0;
    for (std::int64_t d = lane; d < a.head_width; d += 32) {
      sum += loaded(out.data[row * out.stride + d]) * loaded(dout.data[row * dout.stride + d]);
    }
    sum = lanes_reduced<32>(sum, Plus{});
    if (lane == 0) b.scratch[i] = sum;
  }
}

// What one tile of queries needs of its rows: log_sum and delta.
template <typename Tile>
struct RowTerms {
  float log_sum[Tile::kPerThread];
  float delta[Tile::kPerThread];
};

template <typename Tile>
__device__ RowTerms<Tile> row_terms(const AttentionBackward& b, std::int64_t head,
                                    std::int64_t first) {
  RowTerms<Tile> terms;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    const std::int64_t row = first + threadIdx.x / 16 * Tile::kPerThread + i;
    const bool inside = row < b.forward.length;
    const std::int64_t at = head * b.forward.length + row;
    terms.log_sum[i] = inside ? b.forward.log_sum[at] : 0.0F;
    terms.delta[i] = inside ? b.scratch[at] : 0.0F;
  }
  return terms;
}

// Scores become probabilities, and dp their gradient; both 0 where masked.
template <typename Tile>
__device__ void score_gradients(const Attention& a, std::int64_t first_row, std::int64_t first_key,
                                const RowTerms<Tile>& terms, Scores<Tile>& p, Scores<Tile>& dp) {
  const std::int64_t tx = threadIdx.x % 16;
  const std::int64_t ty = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < Tile::kPerThread; ++i) {
    const std::int64_t row = first_row + ty * Tile::kPerThread + i;
#pragma unroll
    for (int j = 0; j < Tile::kPerThread; ++j) {
      const std::int64_t key = first_key + tx + 16 * j;
      const bool visible = key <= row && row < a.length;
      p[i][j] = visible ? softmax_term(p[i][j] * a.scale, terms.log_sum[i]) : 0.0F;
      dp[i][j] =
          visible ? attention_score_gradient(p[i][j], dp[i][j], terms.delta[i], a.scale) : 0.0F;
    }
  }
}

template <typename Tile>
struct Shared {
  float *q, *dout, *k, *v, *weights;
};

template <typename Tile>
__device__ Shared<Tile> split() {
  float* at = shared_memory();
  return {at, at + Tile::kOperand, at + 2 * Tile::kOperand, at + 3 * Tile::kOperand,
          at + 4 * Tile::kOperand};
}

template <typename Tile>
__device__ void store_unscaled(const Sums<Tile>& sums, auto to, std::int64_t first,
                               const Attention& a) {
  float one[Tile::kPerThread];
#pragma unroll
  for (float& factor : one) factor = 1.0F;
  store_sums<Tile>(sums, one, to, first, a.length, a.head_width);
}

template <typename Tile, typename T>
__global__ void __launch_bounds__(kAttentionThreads)
    query_gradient_kernel(AttentionBackward b, std::int64_t tiles) {
  const Shared<Tile> s = split<Tile>();
  const Attention& a = b.forward;
  const std::int64_t head = blockIdx.x % (a.sequences * a.heads);
  const std::int64_t sequence = head / a.heads;
  const std::int64_t h = head % a.heads;
  const std::int64_t g = h / (a.heads / a.kv_heads);
  const std::int64_t first = (tiles - 1 - blockIdx.x / (a.sequences * a.heads)) * Tile::kRows;
  const auto keys = head_rows(static_cast<const T*>(a.k), a.k_stride, a, sequence, g);
  const auto values = head_rows(static_cast<const T*>(a.v), a.v_stride, a, sequence, g);

  load_tile<Tile>(head_rows(static_cast<const T*>(a.q), a.q_stride, a, sequence, h), first,
                  a.length, a.head_width, s.q);
  load_tile<Tile>(head_rows(static_cast<const T*>(b.dout), b.dout_stride, a, sequence, h), first,
                  a.length, a.head_width, s.dout);
  const RowTerms<Tile> terms = row_terms<Tile>(b, head, first);
  Sums<Tile> dq;
  Scores<Tile> p;
  Scores<Tile> ds;
  clear<Tile>(dq);
  for (std::int64_t key = 0; key <= first; key += Tile::kRows) {
    __syncthreads();  // what is in shared memory is used up
    load_tile<Tile>(keys, key, a.length, a.head_width, s.k);
    load_tile<Tile>(values, key, a.length, a.head_width, s.v);
    __syncthreads();
    multiply_rows<Tile>(s.q, s.k, p);
    multiply_rows<Tile>(s.dout, s.v, ds);
    score_gradients<Tile>(a, first, key, terms, p, ds);
    put_scores<Tile>(ds, s.weights);
    __syncthreads();
    add_product<Tile>(s.weights, s.k, dq);
  }
  store_unscaled<Tile>(dq, head_rows(static_cast<T*>(b.dq), b.dq_stride, a, sequence, h), first, a);
}

// The group's query heads in order, and their tiles of queries from the diagonal down.
template <typename Tile, typename T>
__global__ void __launch_bounds__(kAttentionThreads) key_gradient_kernel(AttentionBackward b) {
  const Shared<Tile> s = split<Tile>();
  const Attention& a = b.forward;
  const std::int64_t unit = blockIdx.x % (a.sequences * a.kv_heads);
  const std::int64_t sequence = unit / a.kv_heads;
  const std::int64_t g = unit % a.kv_heads;
  const std::int64_t group = a.heads / a.kv_heads;
  const std::int64_t first = blockIdx.x / (a.sequences * a.kv_heads) * Tile::kRows;

  load_tile<Tile>(head_rows(static_cast<const T*>(a.k), a.k_stride, a, sequence, g), first,
                  a.length, a.head_width, s.k);
  load_tile<Tile>(head_rows(static_cast<const T*>(a.v), a.v_stride, a, sequence, g), first,
                  a.length, a.head_width, s.v);
  Sums<Tile> dk;
  Sums<Tile> dv;
  Scores<Tile> p;
  Scores<Tile> ds;
  clear<Tile>(dk);
  clear<Tile>(dv);
  for (std::int64_t h = g * group; h < (g + 1) * group; ++h) {
    const auto queries = head_rows(static_cast<const T*>(a.q), a.q_stride, a, sequence, h);
    const auto douts = head_rows(static_cast<const T*>(b.dout), b.dout_stride, a, sequence, h);
    for (std::int64_t query = first; query < a.length; query += Tile::kRows) {
      __syncthreads();  // what is in shared memory is used up
      load_tile<Tile>(queries, query, a.length, a.head_width, s.q);
      load_tile<Tile>(douts, query, a.length, a.head_width, s.dout);
      __syncthreads();
      multiply_rows<Tile>(s.q, s.k, p);
      multiply_rows<Tile>(s.dout, s.v, ds);
      score_gradients<Tile>(a, query, first, row_terms<Tile>(b, sequence * a.heads + h, query), p,
                            ds);
      put_transposed<Tile>(p, s.weights);
      __syncthreads();
      add_product<Tile>(s.weights, s.dout, dv);
      __syncthreads();  // the probabilities are used up
      put_transposed<Tile>(ds, s.weights);
      __syncthreads();
      add_product<Tile>(s.weights, s.q, dk);
    }
  }
  store_unscaled<Tile>(dk, head_rows(static_cast<T*>(b.dk), b.dk_stride, a, sequence, g), first, a);
  store_unscaled<Tile>(dv, head_rows(static_cast<T*>(b.dv), b.dv_stride, a, sequence, g), first, a);
}

template <typename Tile, typename T>
void launch_for(Queue& queue, const AttentionBackward& b) {
  const Attention& a = b.forward;
  const std::int64_t tiles = divide_up(a.length, Tile::kRows);
  const std::int64_t rows = a.sequences * a.heads * a.length;
  const int bytes = Tile::bytes(4);
  launch(queue, "delta of attention_backward",
         {grid_for(rows, kAttentionThreads / 32), kAttentionThreads}, delta_kernel<T>, b, rows);

  launch_tiled(queue, "dq of attention_backward", {tiles * a.sequences * a.heads, bytes},
               query_gradient_kernel<Tile, T>, b, tiles);
  launch_tiled(queue, "dk and dv of attention_backward", {tiles * a.sequences * a.kv_heads, bytes},
               key_gradient_kernel<Tile, T>, b);
}

}  // namespace

void run_on_cuda(Queue& queue, const AttentionBackward& b) {
  const Attention& a = b.forward;
  check_tiled(a);
  if (a.sequences * a.heads * a.length == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    if (a.head_width <= 64) {
      launch_for<TileShape<64, 64>, T>(queue, b);
    } else if (a.head_width <= 128) {
      launch_for<TileShape<128, 32>, T>(queue, b);
    } else {
      launch_for<TileShape<256, 16>, T>(queue, b);
    }
  });
}

}  // namespace sluice

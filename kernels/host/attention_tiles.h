// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How attention's forward and backward cut a head into tiles for multiply_tile.

#include <cstdint>

#include "devices/base/error.h"
#include "kernels/host/gemm_tile.h"
#include "kernels/kernels.h"

namespace sluice {

inline constexpr std::int64_t kAttentionBlock = 64;  // queries or keys per tile
inline constexpr std::int64_t kMaxHeadWidth = 256;

// One query head of one sequence, with the key-value head it reads.
struct AttentionHead {
  MatrixView q, k, v;  // [length, head_width]
  float* log_sum;      // [length]
};

inline MatrixView head_view(const void* base, std::int64_t stride, DType dtype, std::int64_t row,
                            std::int64_t column) {
  return {static_cast<const std::byte*>(base) + (row * stride + column) * size_of(dtype), stride,
          false, dtype};
}

inline AttentionHead attention_head(const Attention& a, std::int64_t sequence, std::int64_t head) {
  const std::int64_t row = sequence * a.length;
  const std::int64_t kv_column = head / (a.heads / a.kv_heads) * a.head_width;
  return {.q = head_view(a.q, a.q_stride, a.dtype, row, head * a.head_width),
          .k = head_view(a.k, a.k_stride, a.dtype, row, kv_column),
          .v = head_view(a.v, a.v_stride, a.dtype, row, kv_column),
          .log_sum = a.log_sum + (sequence * a.heads + head) * a.length};
}

// The same matrix from row `first` on.
inline MatrixView rows_of(const MatrixView& view, std::int64_t first) {
  return head_view(view.data, view.stride, view.dtype, first, 0);
}

inline MatrixView transposed(MatrixView view) {
  view.transposed = !view.transposed;
  return view;
}

// One (sequence, key-value head): backward goes through blocks of keys outside, the group's query
// heads in order and their blocks of queries inside. dk and dv of a block are summed on the stack,
// dq of the group in `dq` (fp32, [group][length][head_width]).
struct BackwardUnit {
  const AttentionBackward& a;
  std::int64_t sequence, kv_head;
  float* dq;     // this unit's
  float* delta;  // [group][length]: dout . out of each query
};

inline void check_attention(const Attention& a) {
  SLUICE_CHECK(a.kv_heads > 0 && a.heads % a.kv_heads == 0);
  SLUICE_CHECK(a.head_width <= kMaxHeadWidth);
}

}  // namespace sluice

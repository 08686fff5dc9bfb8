// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Sums down the columns of a matrix that need not exist: element (row, column) is
// term(row, column).
//
// Determinism  a column's rows are shared out over 64 threads by index and their sums folded in
//              a fixed order.

#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace sluice {

struct ColumnSums {
  std::int64_t rows = 0, n = 0;
  std::int64_t chunk = 0;  // rows per sum: to[chunks][n]; 0 rows are one empty chunk
  float* to = nullptr;
  bool accumulate = false;  // adds to what is there
};

inline constexpr int kSumColumns = 16;  // neighbours, so that a row of a block is 32 bytes or more
inline constexpr int kSumRows = 64;

template <typename Term>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    column_sums_kernel(ColumnSums a, std::int64_t chunks, Term term) {
  __shared__ float sums[kSumRows][kSumColumns];
  const int x = static_cast<int>(threadIdx.x) % kSumColumns;
  const int y = static_cast<int>(threadIdx.x) / kSumColumns;
  const std::int64_t across = (a.n + kSumColumns - 1) / kSumColumns;
  for (std::int64_t unit = blockIdx.x; unit < across * chunks; unit += gridDim.x) {
    const std::int64_t column = unit % across * kSumColumns + x;
    const std::int64_t first = unit / across * a.chunk;
    const std::int64_t last = a.rows < first + a.chunk ? a.rows : first + a.chunk;
    float sum = 0;
    for (std::int64_t row = first + y; column < a.n && row < last; row += kSumRows) {
      sum += term(row, column);
    }
    sums[y][x] = sum;
    __syncthreads();
    for (int half = kSumRows / 2; half > 0; half /= 2) {
      if (y < half) sums[y][x] += sums[y + half][x];
      __syncthreads();
    }
    // Who reads these sums here is who writes them next.
    if (y == 0 && column < a.n) {
      float& to = a.to[unit / across * a.n + column];
      to = a.accumulate ? to + sums[0][x] : sums[0][x];
    }
  }
}

template <typename Term>
void sum_columns(Queue& queue, const ColumnSums& a, Term term) {
  if (a.n == 0) return;
  const std::int64_t chunks = a.rows == 0 ? 1 : divide_up(a.rows, a.chunk);
  launch(queue, "sum of columns",
         {grid_for(divide_up(a.n, kSumColumns) * chunks), kSumColumns * kSumRows},
         column_sums_kernel<Term>, a, chunks, term);
}

}  // namespace sluice

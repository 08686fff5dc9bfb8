// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <limits>

#include "kernels/host/gemm_tile.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

struct TileSize {
  std::int64_t rows, columns;
};

// Cuts c in equal parts each way so that the thread with the most tiles is done soonest: large
// tiles reuse what they pack, many of them leave no thread without work. Costs are in
// multiply-adds. Results do not depend on the choice (gemm_tile.h).
TileSize tile_size(const Matmul& a, int threads) {
  constexpr std::int64_t kPack = 20;                 // of one element
  constexpr std::int64_t kStart = 1 << 17;           // of one tile
  constexpr std::int64_t kRows = 12, kColumns = 32;  // micro-tiles, gemm_tile.cpp
  constexpr std::int64_t kCuts = 12;
  TileSize best{kMaxTileRows, kMaxTileColumns};
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  const auto part = [](std::int64_t size, std::int64_t parts, std::int64_t step) {
    return round_up(divide_up(size, parts), step);
  };
  const std::int64_t fewest_down = divide_up(a.m, kMaxTileRows);
  const std::int64_t fewest_across = divide_up(a.n, kMaxTileColumns);
  for (std::int64_t down = fewest_down; down < fewest_down + kCuts; ++down) {
    for (std::int64_t across = fewest_across; across < fewest_across + kCuts; ++across) {
      const TileSize size{part(a.m, down, kRows), part(a.n, across, kColumns)};
      const std::int64_t tiles = divide_up(a.m, size.rows) * divide_up(a.n, size.columns);
      const std::int64_t tile =
          (size.rows * size.columns + kPack * (size.rows + size.columns)) * a.k + kStart;
      const std::int64_t cost = divide_up(tiles, threads) * tile;
      if (cost >= least) continue;
      least = cost;
      best = size;
    }
  }
  return best;
}

// What c holds before the product is added, as fp32: bias, plus c where accumulated.
template <typename Input, typename Output>
void start_tile(const Matmul& a, std::int64_t row, std::int64_t column, const GemmTile& tile) {
  const Input* bias = a.bias == nullptr ? nullptr : at<Input>(a.bias, column);
  for (std::int64_t i = 0; i < tile.m; ++i) {
    const Output* c = at<Output>(a.c, (row + i) * a.c_stride + column);
    float* to = tile.c + i * tile.c_stride;
    for (std::int64_t j = 0; j < tile.n; ++j) {
      const float start = a.accumulate ? loaded(c[j]) : 0.0F;
      to[j] = bias == nullptr ? start : start + loaded(bias[j]);
    }
  }
}

MatrixView view_of(const void* data, std::int64_t stride, bool transposed, DType dtype,
                   std::int64_t row, std::int64_t column) {
  const std::int64_t offset = transposed ? column * stride + row : row * stride + column;
  return {at<std::byte>(data, offset * size_of(dtype)), stride, transposed, dtype};
}

void multiply_one(const Matmul& a, std::int64_t row, std::int64_t column, TileSize size) {
  GemmTile tile{.m = std::min(size.rows, a.m - row),
                .n = std::min(size.columns, a.n - column),
                .k = a.k,
                .a = view_of(a.a, a.a_stride, a.a_transposed, a.dtype, row, 0),
                .b = view_of(a.b, a.b_stride, a.b_transposed, a.dtype, 0, column)};
  const bool started = a.bias != nullptr || a.accumulate;
  alignas(64) float space[kMaxTileRows * kMaxTileColumns];
  if (a.output == DType::kFloat32) {
    tile.c = at<float>(a.c, row * a.c_stride + column);
    tile.c_stride = a.c_stride;
    tile.accumulate = started;
    if (a.bias != nullptr) {
      with_type(a.dtype, [&]<typename T>(T) { start_tile<T, float>(a, row, column, tile); });
    }
    multiply_tile(tile);
    return;
  }
  tile.c = space;
  tile.c_stride = size.columns;
  tile.accumulate = started;
  if (started) {
    with_type(a.dtype, [&]<typename T>(T) { start_tile<T, bf16>(a, row, column, tile); });
  }
  multiply_tile(tile);
  for (std::int64_t i = 0; i < tile.m; ++i) {
    const float* from = space + i * tile.c_stride;
    bf16* to = at<bf16>(a.c, (row + i) * a.c_stride + column);
    for (std::int64_t j = 0; j < tile.n; ++j) to[j] = to_bf16(from[j]);
  }
}

}  // namespace

void run_on_host(Workers& workers, const Matmul& a) {
  if (a.m == 0 || a.n == 0) return;
  const TileSize size = tile_size(a, workers.threads());
  const std::int64_t across = divide_up(a.n, size.columns);
  workers.for_each(divide_up(a.m, size.rows) * across, [&](std::int64_t i) {
    multiply_one(a, i / across * size.rows, i % across * size.columns, size);
  });
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/host/gemm_tile.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

struct TileSize {
  std::int64_t rows, columns;
};

// Large tiles reuse what they pack; small ones give every core some of a small
// output. Results do not depend on the choice (gemm_tile.h).
TileSize tile_size(const Matmul& a) {
  constexpr TileSize kSizes[] = {{kMaxTileRows, kMaxTileColumns}, {96, 128}, {66, 64}};
  constexpr std::int64_t kEnoughTiles = 8;
  constexpr std::int64_t kWorthAThread = 1 << 20;  // multiply-adds per tile
  TileSize chosen = kSizes[0];
  for (const TileSize& size : kSizes) {
    if (size.rows * size.columns * a.k < kWorthAThread) break;
    chosen = size;
    if (divide_up(a.m, size.rows) * divide_up(a.n, size.columns) >= kEnoughTiles) break;
  }
  return chosen;
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
  const TileSize size = tile_size(a);
  const std::int64_t across = divide_up(a.n, size.columns);
  workers.for_each(divide_up(a.m, size.rows) * across, [&](std::int64_t i) {
    multiply_one(a, i / across * size.rows, i % across * size.columns, size);
  });
}

}  // namespace sluice

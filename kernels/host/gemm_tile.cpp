// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/host/gemm_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/gemm_tile.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "devices/base/error.h"
#include "kernels/host/loops.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// A micro-tile of kRows x 2 vectors of c lives in registers: 24 accumulators of the
// 32 registers of AVX-512, 12 of 16 elsewhere.
constexpr std::int64_t kWidth = hn::MaxLanes(Floats());
#if HWY_TARGET <= HWY_AVX3
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
constexpr std::int64_t kColumns = 2 * kWidth;

// Packs `width` (at most `panel`) rows of an operand, `depth` long, as
// to[depth][panel], padded with zeros. Element (row, d) is from[row * row_stride + d *
// depth_stride].
template <typename T>
void pack_panel(const T* from, std::int64_t row_stride, std::int64_t depth_stride,
                std::int64_t width, std::int64_t panel, std::int64_t depth, float* to) {
  if (row_stride == 1 && width == panel) {
    for (std::int64_t d = 0; d < depth; ++d) {
      for (std::int64_t i = 0; i < panel; ++i) {
        to[d * panel + i] = to_float(from[d * depth_stride + i]);
      }
    }
    return;
  }
  if (width < panel) std::fill_n(to, depth * panel, 0.0F);
  for (std::int64_t i = 0; i < width; ++i) {
    const T* row = from + i * row_stride;
    for (std::int64_t d = 0; d < depth; ++d) to[d * panel + i] = to_float(row[d * depth_stride]);
  }
}

// Packs rows [0, rows) x depth [first, first + depth) of `view` in panels.
void pack(const MatrixView& view, bool rows_contiguous, std::int64_t rows, std::int64_t first,
          std::int64_t depth, std::int64_t panel, float* to) {
  const std::int64_t row_stride = rows_contiguous ? 1 : view.stride;
  const std::int64_t depth_stride = rows_contiguous ? view.stride : 1;
  with_type(view.dtype, [&]<typename T>(T) {
    for (std::int64_t row = 0; row < rows; row += panel) {
      pack_panel(at<T>(view.data, row * row_stride + first * depth_stride), row_stride,
                 depth_stride, std::min(panel, rows - row), panel, depth, to + row * depth);
    }
  });
}

// c[kRows][2 vectors] (+)= a panel * b panel.
HWY_INLINE void micro_tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                           std::int64_t depth, float* HWY_RESTRICT c, std::int64_t c_stride,
                           bool add) {
  const Floats d;
  Vector left[kRows];
  Vector right[kRows];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) left[i] = right[i] = hn::Zero(d);
  for (std::int64_t p = 0; p < depth; ++p) {
    const Vector b0 = hn::Load(d, b + p * kColumns);
    const Vector b1 = hn::Load(d, b + p * kColumns + kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const Vector ai = hn::Set(d, a[p * kRows + i]);
      left[i] = hn::MulAdd(ai, b0, left[i]);
      right[i] = hn::MulAdd(ai, b1, right[i]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    float* row = c + i * c_stride;
    if (add) {
      left[i] = hn::Add(hn::LoadU(d, row), left[i]);
      right[i] = hn::Add(hn::LoadU(d, row + kWidth), right[i]);
    }
    hn::StoreU(left[i], d, row);
    hn::StoreU(right[i], d, row + kWidth);
  }
}

// A micro-tile of which only rows x columns exist in c.
void micro_tile_at_edge(const float* a, const float* b, std::int64_t depth, float* c,
                        std::int64_t c_stride, bool add, std::int64_t rows, std::int64_t columns) {
  HWY_ALIGN float whole[kRows * kColumns];
  micro_tile(a, b, depth, whole, kColumns, false);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      float& to = c[i * c_stride + j];
      to = add ? to + whole[i * kColumns + j] : whole[i * kColumns + j];
    }
  }
}

void multiply_blocks(const GemmTile& t) {
  constexpr std::int64_t kRowSpace = kMaxTileRows + kRows;
  constexpr std::int64_t kColumnSpace = kMaxTileColumns + kColumns;
  alignas(64) float a[kRowSpace * kGemmDepth];
  alignas(64) float b[kColumnSpace * kGemmDepth];
  for (std::int64_t first = 0; first < t.k; first += kGemmDepth) {
    const std::int64_t depth = std::min(kGemmDepth, t.k - first);
    const bool add = t.accumulate || first > 0;
    pack(t.a, t.a.transposed, t.m, first, depth, kRows, a);
    pack(t.b, !t.b.transposed, t.n, first, depth, kColumns, b);
    for (std::int64_t j = 0; j < t.n; j += kColumns) {
      for (std::int64_t i = 0; i < t.m; i += kRows) {
        float* c = t.c + i * t.c_stride + j;
        const float* a_panel = a + i * depth;
        const float* b_panel = b + j * depth;
        if (i + kRows <= t.m && j + kColumns <= t.n) {
          micro_tile(a_panel, b_panel, depth, c, t.c_stride, add);
        } else {
          micro_tile_at_edge(a_panel, b_panel, depth, c, t.c_stride, add,
                             std::min<std::int64_t>(kRows, t.m - i),
                             std::min<std::int64_t>(kColumns, t.n - j));
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {
HWY_EXPORT(multiply_blocks);
}  // namespace

void multiply_tile(const GemmTile& tile) {
  SLUICE_CHECK(tile.m <= kMaxTileRows && tile.n <= kMaxTileColumns);
  if (tile.k == 0 && !tile.accumulate) {
    for (std::int64_t i = 0; i < tile.m; ++i) std::fill_n(tile.c + i * tile.c_stride, tile.n, 0.0F);
  }
  HWY_DYNAMIC_DISPATCH(multiply_blocks)(tile);
}

}  // namespace sluice
#endif  // HWY_ONCE

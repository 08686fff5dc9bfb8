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
constexpr int kWidth = hn::MaxLanes(Floats());
#if HWY_TARGET <= HWY_AVX3
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
constexpr int kColumns = 2 * kWidth;

#if HWY_TARGET == HWY_SCALAR
constexpr int kDeep = 4;
// Writes the transpose of 4 rows x kDeep: row d of it to to + d * step.
template <typename T>
void transpose_four(const T* from, std::int64_t stride, float* to, std::int64_t step) {
  for (int d = 0; d < kDeep; ++d) {
    for (int i = 0; i < 4; ++i) to[d * step + i] = loaded(from[i * stride + d]);
  }
}
#else
constexpr int kDeep = kWidth;

HWY_INLINE Vector load_floats(const float* from) { return hn::LoadU(Floats(), from); }
HWY_INLINE Vector load_floats(const bf16* from) {
  const hn::Rebind<std::uint16_t, Floats> narrow;
  const hn::Rebind<std::uint32_t, Floats> wide;
  const auto bits = hn::PromoteTo(wide, hn::LoadU(narrow, &from->bits));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(bits));
}

// Writes the vector's groups of four, the first to `to`, each next one 4 * step behind.
template <class D>
HWY_INLINE void store_quads(D d, hn::Vec<D> v, float* to, std::int64_t step) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    store_quads(half, hn::LowerHalf(half, v), to, step);
    store_quads(half, hn::UpperHalf(half, v), to + hn::MaxLanes(D()) / 2 * step, step);
  }
}

// Writes the transpose of 4 rows x kDeep: row d of it to to + d * step. Interleaving works on
// groups of four elements of each row at once.
template <typename T>
HWY_INLINE void transpose_four(const T* from, std::int64_t stride, float* to, std::int64_t step) {
  const Floats d;
  const Vector r0 = load_floats(from);
  const Vector r1 = load_floats(from + stride);
  const Vector r2 = load_floats(from + 2 * stride);
  const Vector r3 = load_floats(from + 3 * stride);
  const Vector low02 = hn::InterleaveLower(d, r0, r2);
  const Vector low13 = hn::InterleaveLower(d, r1, r3);
  const Vector high02 = hn::InterleaveUpper(d, r0, r2);
  const Vector high13 = hn::InterleaveUpper(d, r1, r3);
  store_quads(d, hn::InterleaveLower(d, low02, low13), to, step);
  store_quads(d, hn::InterleaveUpper(d, low02, low13), to + step, step);
  store_quads(d, hn::InterleaveLower(d, high02, high13), to + 2 * step, step);
  store_quads(d, hn::InterleaveUpper(d, high02, high13), to + 3 * step, step);
}
#endif

// Copies kPanel elements, of which `rows` exist; the rest become zeros.
template <int kPanel, typename T>
HWY_INLINE void copy_panel_row(const T* from, std::int64_t rows, float* HWY_RESTRICT to) {
  if (rows >= kPanel) {
#pragma GCC unroll 32
    for (int i = 0; i < kPanel; ++i) to[i] = loaded(from[i]);
  } else {
    for (std::int64_t i = 0; i < kPanel; ++i) to[i] = i < rows ? loaded(from[i]) : 0.0F;
  }
}

// A panel is kPanel rows of an operand, `depth` long, stored as panel[depth][kPanel];
// rows that do not exist are zeros. Here element d of row i is from[d * stride + i]. In
// blocks of depth, so that a cache line that two panels share is still there for the second.
template <int kPanel, typename T>
void pack_across(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t depth,
                 float* HWY_RESTRICT to) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t first = 0; first < depth; first += kBlock) {
    const std::int64_t last = std::min(depth, first + kBlock);
    for (std::int64_t row = 0; row < rows; row += kPanel) {
      float* panel = to + row * depth;
      for (std::int64_t d = first; d < last; ++d) {
        copy_panel_row<kPanel>(from + d * stride + row, rows - row, panel + d * kPanel);
      }
    }
  }
}

// One panel where element d of row i is from[i * stride + d]: a transposition.
template <int kPanel, typename T>
void pack_along(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t depth,
                float* HWY_RESTRICT to) {
  if (rows < kPanel) std::fill_n(to, depth * kPanel, 0.0F);
  const std::int64_t whole = rows < 4 ? 0 : depth / kDeep * kDeep;
  for (std::int64_t i = 0; i < rows && whole > 0; i += 4) {
    const std::int64_t row = std::min(i, rows - 4);  // the last four may overlap the ones before
    for (std::int64_t d = 0; d < whole; d += kDeep) {
      transpose_four(from + row * stride + d, stride, to + d * kPanel + row, kPanel);
    }
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t d = whole; d < depth; ++d) to[d * kPanel + i] = loaded(from[i * stride + d]);
  }
}

// Packs rows [0, rows) x depth [first, first + depth) of an operand in panels. `across`:
// its rows are the short way of memory.
template <int kPanel>
void pack(const MatrixView& view, bool across, std::int64_t rows, std::int64_t first,
          std::int64_t depth, float* to) {
  with_type(view.dtype, [&]<typename T>(T) {
    if (across) {
      pack_across<kPanel>(at<T>(view.data, first * view.stride), view.stride, rows, depth, to);
      return;
    }
    for (std::int64_t row = 0; row < rows; row += kPanel) {
      pack_along<kPanel>(at<T>(view.data, row * view.stride + first), view.stride,
                         std::min<std::int64_t>(kPanel, rows - row), depth, to + row * depth);
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
  for (int i = 0; i < kRows; ++i) {
    left[i] = right[i] = hn::Zero(d);
    __builtin_prefetch(c + i * c_stride);
    __builtin_prefetch(c + i * c_stride + kColumns - 1);
  }
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
    pack<kRows>(t.a, t.a.transposed, t.m, first, depth, a);
    pack<kColumns>(t.b, !t.b.transposed, t.n, first, depth, b);
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

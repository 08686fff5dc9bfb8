// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Matrix multiplication of one output tile on the calling thread: what matmul and
// attention are made of.
//
// Determinism  each element of c is a chain of fused multiply-adds over blocks of
//              kGemmDepth along k, the blocks added in order: its bits depend on
//              its row of a and its column of b alone, whatever tile it lies in and
//              whatever the SIMD level (of those with fused multiply-add).
// Memory       packs its operands on the stack (about 0.5 MiB); allocates nothing.

#include <cstdint>

#include "devices/base/dtype.h"

namespace sluice {

inline constexpr std::int64_t kGemmDepth = 256;
inline constexpr std::int64_t kMaxTileRows = 192;
inline constexpr std::int64_t kMaxTileColumns = 256;

// Element (row, column) is data[row * stride + column], or, transposed,
// data[column * stride + row].
struct MatrixView {
  const void* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
  DType dtype = DType::kFloat32;
};

// c[m,n] = a[m,k] * b[k,n] (+ c), all in fp32 once read. m <= kMaxTileRows,
// n <= kMaxTileColumns.
struct GemmTile {
  std::int64_t m = 0, n = 0, k = 0;
  MatrixView a, b;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;
};
void multiply_tile(const GemmTile& tile);

}  // namespace sluice

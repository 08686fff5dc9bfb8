// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How the host kernels cut their work and read their operands.
//
// Each kernel file is compiled once per SIMD level by Highway's foreach_target.h
// (the nested namespace HWY_NAMESPACE is its price) and calls the best level at
// run time. Loops over formulas are plain scalar code that the compiler turns into
// vectors; `#pragma GCC ivdep` says that outputs overlap inputs exactly or not at all.
//
// Determinism  chunks depend on sizes alone, and a sum is made per chunk in fixed
//              lanes, then over chunks in order.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "devices/workers.h"
#include "kernels/formula.h"

namespace sluice {

// Runs body(begin, end) over [0, count) in chunks of `chunk`.
template <typename Body>
void for_chunks(Workers& workers, std::int64_t count, std::int64_t chunk, const Body& body) {
  workers.for_each(divide_up(count, chunk),
                   [&](std::int64_t i) { body(i * chunk, std::min(count, (i + 1) * chunk)); });
}

// Rows of `width` elements per chunk, such that a chunk is worth a thread's while.
constexpr std::int64_t rows_per_chunk(std::int64_t width) {
  return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, width));
}

template <typename T>
SLUICE_FORMULA const T* at(const void* base, std::int64_t index) {
  return static_cast<const T*>(base) + index;
}
template <typename T>
SLUICE_FORMULA T* at(void* base, std::int64_t index) {
  return static_cast<T*>(base) + index;
}

// Calls body(T{}) with the C++ type that stands for `dtype`.
template <typename Body>
SLUICE_FORMULA void with_type(DType dtype, const Body& body) {
  if (dtype == DType::kFloat32) {
    body(float{});
  } else {
    body(bf16{});
  }
}

inline constexpr std::int64_t kLanes = 16;

// Sum of term(0) ... term(count - 1) in 16 lanes that are folded in a fixed order:
// the same bits on every SIMD level.
template <typename Number, typename Term>
SLUICE_FORMULA Number lane_sum(std::int64_t count, const Term& term) {
  Number lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
#pragma GCC unroll 16
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += term(i + j);
  }
  for (std::int64_t j = 0; i < count; ++i, ++j) lanes[j] += term(i);
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// The largest of term(0) ... term(count - 1); -infinity where there is none. NaN is
// passed over.
template <typename Term>
SLUICE_FORMULA float lane_maximum(std::int64_t count, const Term& term) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
#pragma GCC unroll 16
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const float v = term(i + j);
      lanes[j] = lanes[j] < v ? v : lanes[j];
    }
  }
  for (std::int64_t j = 0; i < count; ++i, ++j) {
    const float v = term(i);
    lanes[j] = lanes[j] < v ? v : lanes[j];
  }
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) {
      lanes[j] = lanes[j] < lanes[j + half] ? lanes[j + half] : lanes[j];
    }
  }
  return lanes[0];
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/rope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>

#include "devices/base/error.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"
#include "kernels/rope_math.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// Rotates all heads of one row by the angles of its position.
void rope_row(const Rope& a, std::int64_t row, const float* cosine, const float* sine) {
  const std::int64_t half = a.head_width / 2;
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t head = 0; head < a.heads; ++head) {
      T* low = at<T>(a.x, row * a.stride + head * a.head_width);
      T* high = low + half;
#pragma GCC ivdep
      for (std::int64_t i = 0; i < half; ++i) {
        const RopePair pair = rope_rotated(loaded(low[i]), loaded(high[i]), cosine[i], sine[i]);
        store(pair.low, &low[i]);
        store(pair.high, &high[i]);
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {

HWY_EXPORT(rope_row);

constexpr std::int64_t kMaxHalf = 256;

}  // namespace

void run_on_host(Workers& workers, const Rope& a) {
  const std::int64_t half = a.head_width / 2;
  SLUICE_CHECK(a.head_width % 2 == 0 && half <= kMaxHalf);
  if (a.tokens == 0) return;
  SLUICE_CHECK(a.length >= 1);
  std::array<double, kMaxHalf> frequency;
  for (std::int64_t i = 0; i < half; ++i) {
    frequency[static_cast<std::size_t>(i)] = rope_frequency(a.theta, a.scaling, i, a.head_width);
  }
  // By position, not by row: the sines of a position serve all its sequences.
  for_chunks(workers, std::min(a.length, a.tokens), 8, [&](std::int64_t begin, std::int64_t end) {
    std::array<float, kMaxHalf> cosine;
    std::array<float, kMaxHalf> sine;
    for (std::int64_t position = begin; position < end; ++position) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(half); ++i) {
        const double angle = static_cast<double>(position) * frequency[i];
        cosine[i] = static_cast<float>(std::cos(angle));
        sine[i] = static_cast<float>(a.inverse ? -std::sin(angle) : std::sin(angle));
      }
      for (std::int64_t row = position; row < a.tokens; row += a.length) {
        HWY_DYNAMIC_DISPATCH(rope_row)(a, row, cosine.data(), sine.data());
      }
    }
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

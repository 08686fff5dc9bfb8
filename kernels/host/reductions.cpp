// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/reductions.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/digest_math.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// gradient[begin, end) (+)= the sum over rows, blocks of 64 rows first: the rounding
// error grows with the root of the block's length and of their number.
void column_sum(const ColumnSum& a, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kBlock = 64;
  if (!a.accumulate) std::fill(a.gradient + begin, a.gradient + end, 0.0F);
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t first = 0; first < a.rows; first += kBlock) {
      float block[kBlock] = {};
      const std::int64_t last = std::min(a.rows, first + kBlock);
      for (std::int64_t row = first; row < last; ++row) {
        const T* x = at<T>(a.x, row * a.stride + begin);
        for (std::int64_t i = 0; i < end - begin; ++i) block[i] += loaded(x[i]);
      }
      for (std::int64_t i = begin; i < end; ++i) a.gradient[i] += block[i - begin];
    }
  });
}

// In double: the sum of losses is reported and compared to seven digits.
double sum(const Sum& a, std::int64_t begin, std::int64_t end) {
  return lane_sum<double>(end - begin,
                          [&](std::int64_t i) { return static_cast<double>(a.x[begin + i]); });
}

double squared_norm(const SquaredNorm& a, std::int64_t begin, std::int64_t end) {
  double total = 0;
  with_type(a.dtype, [&]<typename T>(T) {
    const T* x = at<T>(a.x, begin);
    total = lane_sum<double>(end - begin, [&](std::int64_t i) {
      const auto v = static_cast<double>(loaded(x[i]));
      return v * v;
    });
  });
  return total;
}

std::uint64_t digest(const Digest& a, std::int64_t begin, std::int64_t end) {
  std::uint64_t total = 0;
  with_type(a.dtype, [&]<typename T>(T) {
    const T* x = at<T>(a.x, 0);
    for (std::int64_t i = begin; i < end; ++i) {
      total += digest_mix(a.salt, static_cast<std::uint64_t>(a.first + i), bits_of(x[i]));
    }
  });
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {

HWY_EXPORT(column_sum);
HWY_EXPORT(sum);
HWY_EXPORT(squared_norm);
HWY_EXPORT(digest);

constexpr std::int64_t kMaxPartials = 64;

}  // namespace

void run_on_host(Workers& workers, const ColumnSum& a) {
  for_chunks(workers, a.n, 64, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(column_sum)(a, begin, end);
  });
}

void run_on_host(Workers& workers, const Sum& a) {
  const std::int64_t chunk = std::max(kNormChunk, divide_up(a.count, kMaxPartials));
  std::array<double, kMaxPartials> partials;
  for_chunks(workers, a.count, chunk, [&](std::int64_t begin, std::int64_t end) {
    partials[static_cast<std::size_t>(begin / chunk)] = HWY_DYNAMIC_DISPATCH(sum)(a, begin, end);
  });
  double total = a.accumulate ? static_cast<double>(*a.total) : 0.0;
  const std::int64_t chunks = divide_up(a.count, chunk);
  for (std::int64_t i = 0; i < chunks; ++i) {
    total += partials[static_cast<std::size_t>(i)];
  }
  *a.total = static_cast<float>(total);
}

void run_on_host(Workers& workers, const FillZero& a) {
  for_chunks(workers, a.size.value, 1 << 20, [&](std::int64_t begin, std::int64_t end) {
    std::memset(at<std::byte>(a.to, begin), 0, static_cast<std::size_t>(end - begin));
  });
}

void run_on_host(Workers& workers, const SquaredNorm& a) {
  for_chunks(workers, a.count, kNormChunk, [&](std::int64_t begin, std::int64_t end) {
    a.partials[begin / kNormChunk] = HWY_DYNAMIC_DISPATCH(squared_norm)(a, begin, end);
  });
}

void run_on_host(Workers& /*workers*/, const FinishNorm& a) {
  double total = 0;
  NormResult result;
  for (std::int64_t i = 0; i < a.count; ++i) {
    total += a.partials[i];
    if (!std::isfinite(a.partials[i])) result.bad_partial = static_cast<std::int32_t>(i + 1);
  }
  result.norm = static_cast<float>(std::sqrt(total));
  result.finite = std::isfinite(result.norm) ? 1 : 0;
  if (a.clip > 0) result.scale = std::min(1.0F, a.clip / (result.norm + 1e-6F));
  *a.result = result;
}

std::uint64_t digest_on_host(const Digest& a) {
  return HWY_DYNAMIC_DISPATCH(digest)(a, 0, a.count);
}

void run_on_host(Workers& workers, const Digest& a) {
  std::atomic<std::uint64_t> total{0};  // addition modulo 2^64 has no order
  for_chunks(workers, a.count, 65536, [&](std::int64_t begin, std::int64_t end) {
    total.fetch_add(HWY_DYNAMIC_DISPATCH(digest)(a, begin, end), std::memory_order_relaxed);
  });
  *a.digest += total.load(std::memory_order_relaxed);
}

}  // namespace sluice
#endif  // HWY_ONCE

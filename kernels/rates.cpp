// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/rates.h"

#include <algorithm>
#include <cstring>

#include "devices/base/error.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

// The shortest of several runs, after one that warms up; about 0.3 s (quick: 0.06).
template <typename Run>
double best_of(bool quick, Run run) {
  run();
  const double budget = quick ? 0.06 : 0.3;
  double best = 1e9, spent = 0;
  for (int i = 0; i < 50 && (i < 2 || spent < budget); ++i) {
    const double start = steady_seconds().count();
    run();
    const double seconds = steady_seconds().count() - start;
    best = std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

}  // namespace

RateMeter::RateMeter(Queue& queue, const KernelTable& kernels, std::span<std::byte> memory,
                     bool quick)
    : queue_(queue), kernels_(kernels), memory_(memory), quick_(quick) {
  SLUICE_CHECK(memory.size() >= count(kMemory));
}

template <typename Run>
double RateMeter::seconds_of(Run run) {
  return best_of(quick_, [&] {
    run();
    queue_.synchronize(queue_.mark());
  });
}

double RateMeter::matmul(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k) {
  std::byte* a = memory_.data();
  std::byte* b = a + round_up(size_of(dtype) * m * k, std::int64_t{4096});
  std::byte* c = b + round_up(size_of(dtype) * k * n, std::int64_t{4096});
  SLUICE_CHECK(c + size_of(dtype) * m * n <= memory_.data() + memory_.size());
  const double seconds = seconds_of([&] {
    kernels_.matmul(queue_, {.m = m,
                             .n = n,
                             .k = k,
                             .a = a,
                             .a_stride = k,
                             .b = b,
                             .b_stride = n,
                             .c = c,
                             .c_stride = n,
                             .dtype = dtype,
                             .output = dtype});
  });
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / seconds;
}

double RateMeter::attention(DType dtype, std::int64_t length, std::int64_t head_width) {
  Attention shape{
      .sequences = 4, .length = length, .heads = 8, .kv_heads = 8, .head_width = head_width};
  const std::int64_t width = shape.heads * shape.head_width;
  const std::int64_t bytes = size_of(dtype) * shape.sequences * shape.length * width;
  shape.q = memory_.data();
  shape.k = memory_.data() + bytes;
  shape.v = memory_.data() + 2 * bytes;
  shape.q_stride = shape.k_stride = shape.v_stride = shape.out_stride = width;
  shape.out = memory_.data() + 3 * bytes;
  shape.log_sum = reinterpret_cast<float*>(memory_.data() + 4 * bytes);
  SLUICE_CHECK(4 * bytes + 4 * shape.sequences * shape.heads * length <=
               static_cast<std::int64_t>(memory_.size()));
  shape.dtype = dtype;
  shape.scale = 0.125F;
  const double seconds = seconds_of([&] { kernels_.attention(queue_, shape); });
  const auto s = static_cast<double>(shape.length);
  return 2.0 * s * s * static_cast<double>(shape.sequences * width) / seconds;
}

BytesPerSecond RateMeter::elementwise(std::int64_t count) {
  SLUICE_CHECK(12 * count + 8192 <= static_cast<std::int64_t>(memory_.size()));
  auto* a = memory_.data();
  const double seconds = seconds_of([&] {
    kernels_.add(queue_,
                 {.count = count, .a = a, .b = a + 4 * count + 4096, .y = a + 8 * count + 8192});
  });
  return {12.0 * static_cast<double>(count) / seconds};
}

Seconds RateMeter::launch() {
  constexpr int kInARow = 500;
  const double seconds = seconds_of([&] {
    for (int i = 0; i < kInARow; ++i) {
      kernels_.fill_zero(queue_, {.to = memory_.data(), .size = Bytes{256}});
    }
  });
  return Seconds{seconds / kInARow};
}

BytesPerSecond measure_host_adam(Workers& workers, std::span<std::byte> memory, bool quick) {
  // More than the last-level cache, as in training: from it Adam ran twice as fast.
  constexpr std::int64_t elements = 8 << 20;
  SLUICE_CHECK(static_cast<std::int64_t>(memory.size()) >= 17 * elements);
  std::memset(memory.data(), 0, static_cast<std::size_t>(17 * elements));
  const auto at = [&](std::int64_t slot) { return memory.data() + slot; };
  constexpr std::int64_t kStagger = 12288;
  const NormResult norm{.norm = 1, .scale = 1, .finite = 1};
  const AdamW adam{.count = elements,
                   .learning_rate = 1e-3F,
                   .beta1 = 0.9F,
                   .beta2 = 0.95F,
                   .epsilon = 1e-8F,
                   .gradient = at(12 * elements + 3 * kStagger),
                   .gradient_dtype = DType::kBFloat16,
                   .master = reinterpret_cast<float*>(at(0)),
                   .first_moment = at(4 * elements + kStagger),
                   .second_moment = at(8 * elements + 2 * kStagger),
                   .weight = at(14 * elements + 4 * kStagger),
                   .weight_dtype = DType::kBFloat16,
                   .norm = &norm};
  const double seconds = best_of(quick, [&] { run_on_host(workers, adam); });
  return {28.0 * static_cast<double>(elements) / seconds};
}

}  // namespace sluice

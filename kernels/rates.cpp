// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/rates.h"

#include <cstring>

#include "devices/base/error.h"
#include "devices/probe/typical_time.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

Seconds budget(bool quick) { return Seconds{quick ? 0.15 : 0.4}; }

}  // namespace

RateMeter::RateMeter(Queue& queue, const KernelTable& kernels, std::span<std::byte> memory,
                     bool quick)
    : queue_(queue), kernels_(kernels), memory_(memory), quick_(quick) {
  SLUICE_CHECK(memory.size() >= count(kMemory));
}

template <typename Run>
double RateMeter::seconds_of(Run run) {
  const Seconds time = typical_time(budget(quick_), 3, [&] {
    run();
    queue_.synchronize(queue_.mark());
  });
  return time.count();
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
                             .b_stride = k,
                             .b_transposed = true,
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
  // As little as the host device still shares between two threads.
  constexpr std::int64_t kWidth = 8192;
  auto* const numbers = reinterpret_cast<float*>(memory_.data());
  const Norm row_pair{.rows = 2,
                      .n = kWidth,
                      .layer_norm = false,
                      .x = numbers,
                      .scale = numbers,
                      .y = numbers + 2 * kWidth,
                      .reciprocal = numbers + 4 * kWidth};
  const double seconds = seconds_of([&] {
    for (int i = 0; i < kInARow; ++i) {
      kernels_.norm(queue_, row_pair);
    }
  });
  return Seconds{seconds / kInARow};
}

BytesPerSecond measure_host_adam(Workers& workers, std::span<std::byte> memory, bool quick) {
  constexpr std::int64_t kStagger = 12288;
  const std::int64_t elements =
      (static_cast<std::int64_t>(memory.size()) - 4 * kStagger) / 16 / 4096 * 4096;
  std::memset(memory.data(), 0, memory.size());
  const auto at = [&](std::int64_t slot) { return memory.data() + slot; };
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
  const Seconds time = typical_time(budget(quick), 3, [&] { run_on_host(workers, adam); });
  return {28.0 * static_cast<double>(elements) / time.count()};
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Rows adam_<dtype>/<count>/<threads>t in parameters/s and bytes/s, where <dtype> is that
// of gradient and weight (state is fp32), and adam_ceiling_<dtype>/...: the same loads and
// stores without the arithmetic. ".../aligned" puts the arrays a power of two apart, which
// memory dislikes (the plan staggers them); without it they are staggered.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>

#include "devices/base/bf16.h"
#include "devices/base/units.h"
#include "devices/workers.h"
#include "kernels/host_kernels.h"

namespace sluice {
namespace {

// Five arrays in one mapping, each in a slot of 4 bytes * count (+ stagger).
class Arrays {
 public:
  Arrays(std::int64_t count, bool staggered)
      : slot_(static_cast<std::size_t>(count) * 4 + (staggered ? 4096 + 4 * 64 * 11 : 0)),
        base_(static_cast<std::byte*>(mmap(nullptr, 5 * slot_, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0))) {
    std::memset(base_, 0, 5 * slot_);
  }
  ~Arrays() { munmap(base_, 5 * slot_); }
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;

  template <typename T>
  T* array(std::size_t index) {
    return reinterpret_cast<T*>(base_ + index * slot_);
  }

 private:
  std::size_t slot_;
  std::byte* base_;
};

struct AdamCase {
  std::int64_t count;
  DType dtype;
  bool staggered;
  int threads;
};

void report(benchmark::State& state, const AdamCase& c) {
  const double bytes = 24.0 + 2.0 * static_cast<double>(size_of(c.dtype));
  const auto count = static_cast<double>(c.count);
  state.counters["items_per_second"] =
      benchmark::Counter(count, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["bytes_per_second"] =
      benchmark::Counter(count * bytes, benchmark::Counter::kIsIterationInvariantRate);
}

void run_adam(benchmark::State& state, const AdamCase& c) {
  Workers workers(c.threads);
  Arrays arrays(c.count, c.staggered);
  const NormResult norm;
  const AdamW call{.count = c.count,
                   .learning_rate = 1e-3F,
                   .beta1 = 0.9F,
                   .beta2 = 0.95F,
                   .epsilon = 1e-8F,
                   .weight_decay = 0.1F,
                   .gradient = arrays.array<void>(3),
                   .gradient_dtype = c.dtype,
                   .master = arrays.array<float>(0),
                   .first_moment = arrays.array<void>(1),
                   .second_moment = arrays.array<void>(2),
                   .weight = arrays.array<void>(4),
                   .weight_dtype = c.dtype,
                   .norm = &norm};
  for (auto _ : state) run_on_host(workers, call);
  report(state, c);
}

template <typename T>
void touch(Arrays& arrays, std::int64_t begin, std::int64_t end) {
  float* __restrict p = arrays.array<float>(0);
  float* __restrict m = arrays.array<float>(1);
  float* __restrict v = arrays.array<float>(2);
  const T* __restrict g = arrays.array<T>(3);
  T* __restrict w = arrays.array<T>(4);
  for (std::int64_t i = begin; i < end; ++i) {
    p[i] += 1.0F;
    m[i] += 1.0F;
    v[i] += 1.0F;
    w[i] = g[i];
  }
}

void run_ceiling(benchmark::State& state, const AdamCase& c) {
  constexpr std::int64_t kChunk = 32768;
  Workers workers(c.threads);
  Arrays arrays(c.count, c.staggered);
  for (auto _ : state) {
    workers.for_each(divide_up(c.count, kChunk), [&](std::int64_t i) {
      const std::int64_t end = std::min(c.count, (i + 1) * kChunk);
      if (c.dtype == DType::kFloat32) {
        touch<float>(arrays, i * kChunk, end);
      } else {
        touch<bf16>(arrays, i * kChunk, end);
      }
    });
  }
  report(state, c);
}

const int kRegistered = [] {
  for (const int power : {16, 20, 24, 26}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (const bool staggered : {true, false}) {
        for (const int threads : {1, 2}) {
          const AdamCase c{std::int64_t{1} << power, dtype, staggered, threads};
          const std::string tail = fmt::format("{}/2^{}/{}t{}", name_of(dtype), power, threads,
                                               staggered ? "" : "/aligned");
          benchmark::RegisterBenchmark(("adam_" + tail).c_str(), [c](benchmark::State& s) {
            run_adam(s, c);
          })->UseRealTime();
          benchmark::RegisterBenchmark(("adam_ceiling_" + tail).c_str(), [c](benchmark::State& s) {
            run_ceiling(s, c);
          })->UseRealTime();
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace sluice

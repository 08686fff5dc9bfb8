// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Rows <kernel>/<dtype>/<threads>t in bytes/s of operands read and written, for an
// activation of 2048 tokens x 768 (norms, GELU, add, loss).

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <functional>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

constexpr std::int64_t kRows = 2048;
constexpr std::int64_t kWidth = 768;
constexpr std::int64_t kCount = kRows * kWidth;

struct Operands {
  explicit Operands(DType type)
      : dtype(type),
        x(kRows, kWidth, type),
        y(kRows, kWidth, type),
        z(kRows, kWidth, type),
        parameters(2, kWidth, type),
        floats(8, kCount),
        targets(static_cast<std::size_t>(kRows), 5) {
    for (Tensor* t : {&x, &y, &z, &parameters}) t->randomize(1);
  }

  DType dtype;
  Tensor x, y, z, parameters, floats;
  std::vector<std::int32_t> targets;
};

// Runs one call; returns how many passes over an activation it reads and writes.
using Call = std::function<double(Workers&, Operands&)>;

double gelu(Workers& workers, Operands& o) {
  run_on_host(workers, Gelu{kCount, GeluForm::kTanh, o.x.data(), o.y.data(), o.dtype});
  return 2;
}
double gelu_erf(Workers& workers, Operands& o) {
  run_on_host(workers, Gelu{kCount, GeluForm::kErf, o.x.data(), o.y.data(), o.dtype});
  return 2;
}
double gelu_backward(Workers& workers, Operands& o) {
  run_on_host(workers,
              GeluBackward{kCount, GeluForm::kTanh, o.x.data(), o.y.data(), o.z.data(), o.dtype});
  return 3;
}
double swiglu(Workers& workers, Operands& o) {
  run_on_host(workers, SwiGlu{kRows, kWidth / 2, o.x.data(), o.y.data(), o.dtype});
  return 1.5;
}
double add(Workers& workers, Operands& o) {
  run_on_host(workers, Add{kCount, o.x.data(), o.y.data(), o.z.data(), o.dtype});
  return 3;
}
double rope(Workers& workers, Operands& o) {
  run_on_host(workers, Rope{.tokens = kRows,
                            .length = 512,
                            .heads = kWidth / 64,
                            .head_width = 64,
                            .x = o.x.data(),
                            .stride = kWidth,
                            .dtype = o.dtype});
  return 2;
}
double norm(Workers& workers, Operands& o) {
  run_on_host(workers, Norm{.rows = kRows,
                            .n = kWidth,
                            .x = o.x.data(),
                            .scale = o.parameters.data(),
                            .shift = o.parameters.data(),
                            .y = o.y.data(),
                            .mean = o.floats.floats(),
                            .reciprocal = o.floats.floats() + kRows,
                            .dtype = o.dtype});
  return 2;
}
double norm_backward(Workers& workers, Operands& o) {
  float* floats = o.floats.floats();
  run_on_host(workers, NormBackward{.rows = kRows,
                                    .n = kWidth,
                                    .dy = o.y.data(),
                                    .x = o.x.data(),
                                    .scale = o.parameters.data(),
                                    .mean = floats,
                                    .reciprocal = floats + kRows,
                                    .dx = o.z.data(),
                                    .scale_gradient = floats + 2 * kRows,
                                    .shift_gradient = floats + 3 * kRows,
                                    .scratch = floats + kCount,
                                    .dtype = o.dtype});
  return 3;
}
double cross_entropy(Workers& workers, Operands& o) {
  o.floats.set(0, kRows, 1.0);
  run_on_host(workers, CrossEntropy{.rows = kRows,
                                    .vocabulary = kWidth,
                                    .logits = o.x.data(),
                                    .stride = kWidth,
                                    .targets = o.targets.data(),
                                    .scale = o.floats.floats() + kRows,
                                    .loss = o.floats.floats(),
                                    .backward = true,
                                    .dtype = o.dtype});
  return 2;
}
double column_sum(Workers& workers, Operands& o) {
  run_on_host(workers,
              ColumnSum{kRows, kWidth, o.x.data(), kWidth, o.floats.floats(), o.dtype, false});
  return 1;
}
double squared_norm(Workers& workers, Operands& o) {
  std::vector<double> partials(static_cast<std::size_t>(norm_chunks(kCount)));
  run_on_host(workers, SquaredNorm{kCount, o.x.data(), partials.data(), o.dtype});
  return 1;
}
double digest(Workers& workers, Operands& o) {
  std::uint64_t sum = 0;
  run_on_host(workers, Digest{kCount, o.x.data(), o.dtype, 1, 0, &sum});
  benchmark::DoNotOptimize(sum);
  return 1;
}

void run(benchmark::State& state, const Call& call, DType dtype, int threads) {
  Workers workers(threads);
  Operands operands(dtype);
  double passes = 0;
  for (auto _ : state) passes = call(workers, operands);
  state.counters["bytes_per_second"] =
      benchmark::Counter(passes * static_cast<double>(kCount * size_of(dtype)),
                         benchmark::Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  const std::pair<const char*, Call> calls[] = {{"gelu", gelu},
                                                {"gelu_erf", gelu_erf},
                                                {"gelu_backward", gelu_backward},
                                                {"swiglu", swiglu},
                                                {"add", add},
                                                {"rope", rope},
                                                {"norm", norm},
                                                {"norm_backward", norm_backward},
                                                {"cross_entropy", cross_entropy},
                                                {"column_sum", column_sum},
                                                {"squared_norm", squared_norm},
                                                {"digest", digest}};
  for (const auto& [name, call] : calls) {
    for (const DType dtype : kBothTypes) {
      for (const int threads : {1, 2}) {
        benchmark::RegisterBenchmark(
            fmt::format("{}/{}/{}t", name, name_of(dtype), threads).c_str(),
            [call = call, dtype, threads](benchmark::State& s) { run(s, call, dtype, threads); })
            ->UseRealTime();
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Rows gemm/<dtype>/<m>x<n>x<k><a form><b form>/<threads>t in flop/s, over the shapes of
// tests/support/matmul_cases.h.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"
#include "tests/support/matmul_cases.h"

namespace sluice {
namespace {

void run_gemm(benchmark::State& state, const MatmulCase& c, DType dtype, int threads) {
  Workers workers(threads);
  const auto operand = [&](std::int64_t rows, std::int64_t columns, bool transposed, DType type) {
    Tensor t(transposed ? columns : rows, transposed ? rows : columns, type);
    t.randomize(1);
    return t;
  };
  Tensor a = operand(c.m, c.k, c.a_transposed, dtype);
  Tensor b = operand(c.k, c.n, c.b_transposed, dtype);
  Tensor bias = operand(1, c.n, false, dtype);
  // Gradients are summed in fp32; everything else leaves in the compute type.
  Tensor out = operand(c.m, c.n, false, c.accumulate ? DType::kFloat32 : dtype);
  const Matmul call{.m = c.m,
                    .n = c.n,
                    .k = c.k,
                    .a = a.data(),
                    .a_stride = a.stride(),
                    .a_transposed = c.a_transposed,
                    .b = b.data(),
                    .b_stride = b.stride(),
                    .b_transposed = c.b_transposed,
                    .bias = c.bias ? bias.data() : nullptr,
                    .c = out.data(),
                    .c_stride = out.stride(),
                    .dtype = dtype,
                    .output = out.dtype(),
                    .accumulate = c.accumulate};
  for (auto _ : state) run_on_host(workers, call);
  state.counters["flops_per_second"] = benchmark::Counter(
      2.0 * static_cast<double>(c.m * c.n * c.k), benchmark::Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  for (const MatmulCase& c : matmul_training_cases()) {
    for (const DType dtype : kBothTypes) {
      for (const int threads : {1, 2}) {
        const std::string name =
            fmt::format("gemm/{}/{}x{}x{}{}{}/{}t", name_of(dtype), c.m, c.n, c.k,
                        c.a_transposed ? 't' : 'n', c.b_transposed ? 't' : 'n', threads);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& s) {
          run_gemm(s, c, dtype, threads);
        })->UseRealTime();
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace sluice

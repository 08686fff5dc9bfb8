// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Rows attention[_backward]/<dtype>/<sequences>x<length>x<heads>x<width>/<threads>t in
// flop/s, where a causal pair of rows counts and a masked one does not.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/attention_cases.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

std::int64_t signed_of(std::size_t x) { return static_cast<std::int64_t>(x); }

void run_attention(benchmark::State& state, const AttentionShape& s, DType dtype, bool backward,
                   int threads) {
  Workers workers(threads);
  const std::int64_t width = signed_of(s.heads * s.width);
  const std::int64_t kv_width = signed_of(s.kv_heads * s.width);
  const auto random = [&](std::int64_t columns) {
    Tensor t(signed_of(s.tokens()), columns, dtype);
    t.randomize(1);
    return t;
  };
  Tensor q = random(width);
  Tensor k = random(kv_width);
  Tensor v = random(kv_width);
  Tensor out = random(width);
  Tensor dout = random(width);
  Tensor dq = random(width);
  Tensor dk = random(kv_width);
  Tensor dv = random(kv_width);
  Tensor log_sum(signed_of(s.sequences * s.heads), signed_of(s.length));
  const Attention forward{.sequences = signed_of(s.sequences),
                          .length = signed_of(s.length),
                          .heads = signed_of(s.heads),
                          .kv_heads = signed_of(s.kv_heads),
                          .head_width = signed_of(s.width),
                          .scale = 1.0F / std::sqrt(static_cast<float>(s.width)),
                          .q = q.data(),
                          .k = k.data(),
                          .v = v.data(),
                          .q_stride = width,
                          .k_stride = kv_width,
                          .v_stride = kv_width,
                          .out = out.data(),
                          .out_stride = width,
                          .log_sum = log_sum.floats(),
                          .dtype = dtype};
  Tensor scratch(1, attention_backward_scratch(forward));
  const AttentionBackward call{.forward = forward,
                               .dout = dout.data(),
                               .dout_stride = width,
                               .dq = dq.data(),
                               .dk = dk.data(),
                               .dv = dv.data(),
                               .dq_stride = width,
                               .dk_stride = kv_width,
                               .dv_stride = kv_width,
                               .scratch = scratch.floats()};
  run_on_host(workers, forward);
  for (auto _ : state) {
    if (backward) {
      run_on_host(workers, call);
    } else {
      run_on_host(workers, forward);
    }
  }
  const double pairs = static_cast<double>(s.sequences * s.heads) *
                       static_cast<double>(s.length * (s.length + 1)) / 2;
  const double products = backward ? 5 : 2;
  state.counters["flops_per_second"] =
      benchmark::Counter(2 * products * pairs * static_cast<double>(s.width),
                         benchmark::Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  for (const AttentionShape& s : attention_training_cases()) {
    for (const DType dtype : kBothTypes) {
      for (const bool backward : {false, true}) {
        for (const int threads : {1, 2}) {
          const std::string name =
              fmt::format("attention{}/{}/{}x{}x{}x{}/{}t", backward ? "_backward" : "",
                          name_of(dtype), s.sequences, s.length, s.heads, s.width, threads);
          benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            run_attention(state, s, dtype, backward, threads);
          })->UseRealTime();
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace sluice

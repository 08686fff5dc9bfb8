// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

// Runs a kernel with some number of threads and returns all that it wrote.
using Scenario = std::function<std::vector<double>(Workers&, DType)>;

std::vector<double> joined(const std::vector<const Tensor*>& tensors) {
  std::vector<double> all;
  for (const Tensor* t : tensors) {
    const auto values = t->values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

Tensor random_tensor(std::int64_t rows, std::int64_t columns, DType dtype, unsigned seed) {
  Tensor t(rows, columns, dtype);
  t.randomize(seed);
  return t;
}

Scenario matmul_scenario(std::int64_t m, std::int64_t n, std::int64_t k, bool a_transposed) {
  return [=](Workers& workers, DType dtype) {
    Tensor a = random_tensor(a_transposed ? k : m, a_transposed ? m : k, dtype, 1);
    Tensor b = random_tensor(k, n, dtype, 2);
    Tensor c = random_tensor(m, n, DType::kFloat32, 3);
    run_on_host(workers, Matmul{.m = m,
                                .n = n,
                                .k = k,
                                .a = a.data(),
                                .a_stride = a.stride(),
                                .a_transposed = a_transposed,
                                .b = b.data(),
                                .b_stride = b.stride(),
                                .c = c.data(),
                                .c_stride = c.stride(),
                                .dtype = dtype,
                                .accumulate = true});
    return joined({&c});
  };
}

std::vector<double> column_sum(Workers& workers, DType dtype) {
  Tensor x = random_tensor(500, 1000, dtype, 1);
  Tensor gradient(1, 1000);
  run_on_host(workers, ColumnSum{500, 1000, x.data(), x.stride(), gradient.floats(), dtype, false});
  return joined({&gradient});
}

std::vector<double> norm_backward(Workers& workers, DType dtype) {
  Tensor x = random_tensor(700, 96, dtype, 1);
  Tensor dy = random_tensor(700, 96, dtype, 2);
  Tensor scale = random_tensor(1, 96, dtype, 3);
  Tensor y(700, 96, dtype);
  Tensor statistics(2, 700);
  Tensor gradients(2, 96);
  Tensor scratch(1, norm_backward_scratch(700, 96));
  float* mean = statistics.floats();
  run_on_host(workers, Norm{.rows = 700,
                            .n = 96,
                            .x = x.data(),
                            .scale = scale.data(),
                            .y = y.data(),
                            .mean = mean,
                            .reciprocal = mean + 700,
                            .dtype = dtype});
  run_on_host(workers, NormBackward{.rows = 700,
                                    .n = 96,
                                    .dy = dy.data(),
                                    .x = x.data(),
                                    .scale = scale.data(),
                                    .mean = mean,
                                    .reciprocal = mean + 700,
                                    .dx = y.data(),
                                    .scale_gradient = gradients.floats(),
                                    .shift_gradient = gradients.floats() + 96,
                                    .scratch = scratch.floats(),
                                    .dtype = dtype});
  return joined({&y, &gradients, &statistics});
}

std::vector<double> attention(Workers& workers, DType dtype) {
  const std::int64_t width = 24;
  Tensor qkv = random_tensor(4 * 150, 8 * width, dtype, 1);  // 4 heads, 2 key-value heads
  Tensor dout = random_tensor(4 * 150, 4 * width, dtype, 2);
  Tensor out(4 * 150, 4 * width, dtype);
  Tensor log_sum(16, 150);
  auto* base = static_cast<std::byte*>(qkv.data());
  const Attention forward{.sequences = 4,
                          .length = 150,
                          .heads = 4,
                          .kv_heads = 2,
                          .head_width = width,
                          .scale = 0.2F,
                          .q = base,
                          .k = base + 4 * width * size_of(dtype),
                          .v = base + 6 * width * size_of(dtype),
                          .q_stride = qkv.stride(),
                          .k_stride = qkv.stride(),
                          .v_stride = qkv.stride(),
                          .out = out.data(),
                          .out_stride = out.stride(),
                          .log_sum = log_sum.floats(),
                          .dtype = dtype};
  Tensor dq(4 * 150, 4 * width, dtype);
  Tensor dk(4 * 150, 2 * width, dtype);
  Tensor dv(4 * 150, 2 * width, dtype);
  Tensor scratch(1, attention_backward_scratch(forward));
  run_on_host(workers, forward);
  run_on_host(workers, AttentionBackward{.forward = forward,
                                         .dout = dout.data(),
                                         .dout_stride = dout.stride(),
                                         .dq = dq.data(),
                                         .dk = dk.data(),
                                         .dv = dv.data(),
                                         .dq_stride = dq.stride(),
                                         .dk_stride = dk.stride(),
                                         .dv_stride = dv.stride(),
                                         .scratch = scratch.floats()});
  return joined({&out, &log_sum, &dq, &dk, &dv});
}

std::vector<double> embedding_backward(Workers& workers, DType dtype) {
  Tensor dout = random_tensor(400, 1000, dtype, 1);
  std::vector<std::int32_t> ids;
  for (int t = 0; t < 400; ++t) ids.push_back(t % 7);
  Tensor gradient(10, 1000);
  run_on_host(workers, EmbeddingBackward{.tokens = 400,
                                         .length = 50,
                                         .width = 1000,
                                         .vocabulary = 10,
                                         .ids = ids.data(),
                                         .dout = dout.data(),
                                         .token_gradient = gradient.floats(),
                                         .dtype = dtype});
  return joined({&gradient});
}

std::vector<double> sums(Workers& workers, DType dtype) {
  Tensor x = random_tensor(1, 300000, dtype, 1);
  Tensor y = random_tensor(1, 2000000, DType::kFloat32, 2);
  Tensor total(1, 1);
  std::vector<double> partials(static_cast<std::size_t>(norm_chunks(300000)));
  run_on_host(workers, SquaredNorm{300000, x.data(), partials.data(), dtype});
  run_on_host(workers, Sum{2000000, y.floats(), total.floats(), false});
  std::uint64_t digest = 0;
  run_on_host(workers, Digest{300000, x.data(), dtype, 1, 0, &digest});
  partials.push_back(total.get(0, 0));
  partials.push_back(static_cast<double>(digest >> 32));
  partials.push_back(static_cast<double>(digest & 0xffffffffU));
  return partials;
}

void expect_same_bits(const std::string& name, const Scenario& scenario) {
  for (const DType dtype : kBothTypes) {
    Workers one(1);
    const std::vector<double> expected = scenario(one, dtype);
    for (const int threads : {2, 3, 4, 8}) {
      Workers workers(threads);
      for (int attempt = 0; attempt < 2; ++attempt) {
        EXPECT_EQ(scenario(workers, dtype), expected)
            << name << ' ' << name_of(dtype) << " on " << threads << " threads";
      }
    }
  }
}

TEST(SameBits, MatmulOnAnyNumberOfThreads) {
  expect_same_bits("m x n", matmul_scenario(500, 300, 70, false));
  expect_same_bits("small output, long sum", matmul_scenario(128, 128, 4096, true));
}

TEST(SameBits, SumsOnAnyNumberOfThreads) {
  expect_same_bits("column_sum", column_sum);
  expect_same_bits("norm_backward", norm_backward);
  expect_same_bits("embedding_backward", embedding_backward);
  expect_same_bits("sums", sums);
}

TEST(SameBits, AttentionOnAnyNumberOfThreads) { expect_same_bits("attention", attention); }

// The sweep above means nothing unless so many threads take part.
TEST(SameBits, EightThreadsReallyRun) {
  Workers workers(8);
  for (int i = 0; i < 1000 && workers.threads_seen() < 8; ++i) {
    matmul_scenario(500, 300, 70, false)(workers, DType::kFloat32);
  }
  EXPECT_EQ(workers.threads_seen(), 8);
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/attention_cases.h"
#include "tests/support/finite_difference.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

std::int64_t signed_of(std::size_t x) { return static_cast<std::int64_t>(x); }

// q, k and v as columns of one matrix, the way a model projects them; so their rows
// have strides wider than themselves.
struct AttentionFixture {
  AttentionFixture(const AttentionShape& s, DType dtype)
      : shape(s),
        qkv(signed_of(s.tokens()), signed_of((s.heads + 2 * s.kv_heads) * s.width), dtype),
        out(signed_of(s.tokens()), signed_of(s.heads * s.width), dtype, 3),
        dout(signed_of(s.tokens()), signed_of(s.heads * s.width), dtype, 1),
        dq(signed_of(s.tokens()), signed_of(s.heads * s.width), dtype, 2),
        dk(signed_of(s.tokens()), signed_of(s.kv_heads * s.width), dtype),
        dv(signed_of(s.tokens()), signed_of(s.kv_heads * s.width), dtype, 5),
        log_sum(signed_of(s.sequences * s.heads), signed_of(s.length)) {
    qkv.randomize(1, 1.5);
    dout.randomize(2);
  }

  std::vector<double> columns(std::size_t first, std::size_t count) const {
    std::vector<double> x;
    for (std::size_t t = 0; t < shape.tokens(); ++t) {
      for (std::size_t c = 0; c < count; ++c) {
        x.push_back(qkv.get(signed_of(t), signed_of(first + c)));
      }
    }
    return x;
  }

  AttentionRef<double> reference() const {
    const std::size_t q = shape.heads * shape.width;
    const std::size_t kv = shape.kv_heads * shape.width;
    return {shape, 1.0 / std::sqrt(static_cast<double>(shape.width)), columns(0, q), columns(q, kv),
            columns(q + kv, kv)};
  }

  Attention forward() {
    const std::int64_t size = size_of(qkv.dtype());
    auto* base = static_cast<std::byte*>(qkv.data());
    const std::int64_t q = signed_of(shape.heads * shape.width) * size;
    const std::int64_t kv = signed_of(shape.kv_heads * shape.width) * size;
    return {.sequences = signed_of(shape.sequences),
            .length = signed_of(shape.length),
            .heads = signed_of(shape.heads),
            .kv_heads = signed_of(shape.kv_heads),
            .head_width = signed_of(shape.width),
            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.width))),
            .q = base,
            .k = base + q,
            .v = base + q + kv,
            .q_stride = qkv.stride(),
            .k_stride = qkv.stride(),
            .v_stride = qkv.stride(),
            .out = out.data(),
            .out_stride = out.stride(),
            .log_sum = log_sum.floats(),
            .dtype = qkv.dtype()};
  }

  AttentionBackward backward(Tensor* scratch) {
    return {.forward = forward(),
            .dout = dout.data(),
            .dout_stride = dout.stride(),
            .dq = dq.data(),
            .dk = dk.data(),
            .dv = dv.data(),
            .dq_stride = dq.stride(),
            .dk_stride = dk.stride(),
            .dv_stride = dv.stride(),
            .scratch = scratch->floats()};
  }

  AttentionShape shape;
  Tensor qkv, out, dout, dq, dk, dv, log_sum;
};

TEST(Attention, MatchesTheReferenceForwardAndBackwardAtEdgeSizes) {
  Workers workers(2);
  for (const AttentionShape& shape : attention_edge_cases()) {
    for (const DType dtype : kBothTypes) {
      SCOPED_TRACE(testing::Message()
                   << "length " << shape.length << " heads " << shape.heads << '/' << shape.kv_heads
                   << " width " << shape.width << ' ' << name_of(dtype));
      AttentionFixture f(shape, dtype);
      Tensor scratch(1, attention_backward_scratch(f.forward()));
      const AttentionRef<double> reference = f.reference();

      run_on_host(workers, f.forward());
      run_on_host(workers, f.backward(&scratch));

      const auto expected = reference.forward();
      EXPECT_TRUE(close(f.out, expected.out, 2e-6));
      EXPECT_TRUE(close(f.log_sum, expected.log_sum, 2e-6));
      // delta = dout . out uses the stored output: bf16 carries its rounding into dq, dk.
      const double tolerance = dtype == DType::kFloat32 ? 4e-6 : 4e-3;
      const auto gradients = reference.backward(f.dout.values());
      EXPECT_TRUE(close(f.dq, gradients.dq, tolerance));
      EXPECT_TRUE(close(f.dk, gradients.dk, tolerance));
      EXPECT_TRUE(close(f.dv, gradients.dv, tolerance));
      EXPECT_TRUE(scratch.canaries_intact());
    }
  }
}

TEST(Attention, ReferenceGradientsAreThoseOfFiniteDifferences) {
  AttentionFixture f({1, 5, 4, 2, 3}, DType::kFloat32);
  AttentionRef<double> reference = f.reference();
  const std::vector<double> dout = f.dout.values();
  const auto gradients = reference.backward(dout);
  const auto loss = [&] { return dot(reference.forward().out, dout); };

  EXPECT_LT(gradient_error(&reference.q, gradients.dq, loss), 1e-8);
  EXPECT_LT(gradient_error(&reference.k, gradients.dk, loss), 1e-8);
  EXPECT_LT(gradient_error(&reference.v, gradients.dv, loss), 1e-8);
}

// Scores of +-1000 overflow a softmax that does not subtract the maximum.
TEST(Attention, HugeScoresStayFinite) {
  Workers workers(1);
  AttentionFixture f({1, 100, 1, 1, 16}, DType::kFloat32);
  f.qkv.randomize(3, 30.0);
  run_on_host(workers, f.forward());
  EXPECT_TRUE(close(f.out, f.reference().forward().out, 1e-3));
}

}  // namespace
}  // namespace sluice

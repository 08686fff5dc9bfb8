// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// CUDA kernels of layers against the host's, at the sizes of the host's own tests.

#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/cuda/device_side.h"
#include "tests/support/attention_cases.h"
#include "tests/support/matmul_cases.h"

namespace sluice {
namespace {

class CudaMatmul : public CudaParity {
 protected:
  void check(const MatmulCase& shape, DType dtype, DType output) {
    const auto operand = [&](std::int64_t rows, std::int64_t columns, bool transposed,
                             unsigned seed) {
      return transposed ? Twin(columns, rows, dtype, shape.padding, seed)
                        : Twin(rows, columns, dtype, shape.padding, seed);
    };
    Twin a = operand(shape.m, shape.k, shape.a_transposed, 1);
    Twin b = operand(shape.k, shape.n, shape.b_transposed, 2);
    Twin bias(1, shape.n, dtype, 0, 3);
    Twin c(shape.m, shape.n, output, shape.padding, 4);
    const auto call = [&](Side side) {
      return Matmul{.m = shape.m,
                    .n = shape.n,
                    .k = shape.k,
                    .a = a.at(side),
                    .a_stride = a.host.stride(),
                    .a_transposed = shape.a_transposed,
                    .b = b.at(side),
                    .b_stride = b.host.stride(),
                    .b_transposed = shape.b_transposed,
                    .bias = shape.bias ? bias.at(side) : nullptr,
                    .c = c.at(side),
                    .c_stride = c.host.stride(),
                    .dtype = dtype,
                    .output = output,
                    .accumulate = shape.accumulate};
    };
    SCOPED_TRACE(testing::Message() << shape.m << " x " << shape.n << " x " << shape.k << ' '
                                    << name_of(dtype) << " to " << name_of(output));
    expect_parity(device_->kernels.matmul, call, {&a, &b, &bias, &c}, 2e-6);
  }
};

TEST_F(CudaMatmul, AgreesWithTheHostInEveryFormAndType) {
  std::vector<MatmulCase> shapes = matmul_edge_cases();
  if (!device_->is_emulated()) {
    for (const MatmulCase& shape : matmul_training_cases()) shapes.push_back(shape);
  }
  for (const MatmulCase& shape : shapes) {
    for (const DType dtype : kTypes) {
      for (const DType output : kTypes) check(shape, dtype, output);
    }
  }
}

// For compute-sanitizer, under which the others take minutes: ragged tiles of every kind.
using CudaSmallMatmul = CudaMatmul;
TEST_F(CudaSmallMatmul, AgreesWithTheHost) {
  check({13, 33, 257, true, true, true, true, 3}, DType::kFloat32, DType::kBFloat16);
  check({70, 24, 100, true, true, false, true}, DType::kBFloat16, DType::kFloat32);
}

class CudaElementwise : public CudaParity {};

TEST_F(CudaElementwise, GeluAgreesInBothFormsForwardAndBackward) {
  for (const std::int64_t count : kElementCounts) {
    for (const DType dtype : kTypes) {
      for (const GeluForm form : {GeluForm::kTanh, GeluForm::kErf}) {
        Twin x(1, count, dtype, 0, 1, 3.0);
        Twin y(1, count, dtype);
        Twin dy(1, count, dtype, 0, 2);
        const auto forward = [&](Side side) {
          return Gelu{count, form, x.at(side), y.at(side), dtype};
        };
        const auto backward = [&](Side side) {
          return GeluBackward{count, form, x.at(side), dy.at(side), dy.at(side), dtype};
        };
        expect_parity(device_->kernels.gelu, forward, {&x, &y}, 1e-7);
        expect_parity(device_->kernels.gelu_backward, backward, {&x, &dy}, 1e-7);
      }
    }
  }
}

TEST_F(CudaElementwise, SwiGluAgreesForwardAndBackwardInPlace) {
  for (const auto& [rows, width] : {std::pair{0, 4}, {1, 1}, {3, 19}, {5, 24}, {300, 96}}) {
    for (const DType dtype : kTypes) {
      Twin gate_up(rows, 2 * width, dtype, 0, 1, 2.0);
      Twin y(rows, width, dtype);
      Twin dy(rows, width, dtype, 0, 2);
      const auto forward = [&, r = rows, w = width](Side side) {
        return SwiGlu{r, w, gate_up.at(side), y.at(side), dtype};
      };
      const auto backward = [&, r = rows, w = width](Side side) {
        return SwiGluBackward{r, w, gate_up.at(side), dy.at(side), gate_up.at(side), dtype};
      };
      expect_parity(device_->kernels.swiglu, forward, {&gate_up, &y}, 1e-7);
      expect_parity(device_->kernels.swiglu_backward, backward, {&gate_up, &dy}, 1e-7);
    }
  }
}

TEST_F(CudaElementwise, AddCastAndFillZeroGiveTheSameBits) {
  for (const std::int64_t count : kElementCounts) {
    for (const DType dtype : kTypes) {
      Twin a(1, count, dtype, 0, 1);
      Twin b(1, count, dtype, 0, 2);
      const auto add = [&](Side side) {
        return Add{count, a.at(side), b.at(side), a.at(side), dtype};
      };
      expect_parity(device_->kernels.add, add, {&a, &b}, 0.0);
      for (const DType to_dtype : kTypes) {
        Twin to(1, count, to_dtype);
        const auto cast = [&](Side side) {
          return Cast{count, a.at(side), to.at(side), dtype, to_dtype};
        };
        expect_parity(device_->kernels.cast, cast, {&a, &to}, 0.0);
      }
      const auto fill = [&](Side side) { return FillZero{a.at(side), bytes_of(dtype, count)}; };
      expect_parity(device_->kernels.fill_zero, fill, {&a}, 0.0);
    }
  }
}

TEST_F(CudaElementwise, RopeAgreesForwardAndBack) {
  struct Case {
    std::int64_t tokens, length, heads, width;
  };
  std::vector<Case> cases = {{0, 37, 3, 24}, {20, 37, 3, 24}, {74, 37, 3, 24}};
  // More positions than a grid has blocks.
  if (!kSanitized) cases.push_back({9000, 9000, 2, 2});
  for (const auto& [tokens, length, heads, width] : cases) {
    for (const DType dtype : kTypes) {
      for (const bool inverse : {false, true}) {
        Twin x(tokens, heads * width, dtype, 5);
        const auto call = [&, tokens = tokens, length = length, heads = heads,
                           width = width](Side side) {
          return Rope{.tokens = tokens,
                      .length = length,
                      .heads = heads,
                      .head_width = width,
                      .x = x.at(side),
                      .stride = x.host.stride(),
                      .inverse = inverse,
                      .dtype = dtype};
        };
        expect_parity(device_->kernels.rope, call, {&x}, 1e-6);
      }
    }
  }
}

class CudaNorm : public CudaParity {
 protected:
  void check(std::int64_t rows, std::int64_t n, bool layer_norm, DType dtype) {
    Twin x(rows, n, dtype, 0, 1);
    Twin scale(1, n, dtype, 0, 2);
    Twin shift(1, n, dtype, 0, 3);
    Twin y(rows, n, dtype, 0, 4);
    Twin dy(rows, n, dtype, 0, 5);
    Twin residual(rows, n, dtype, 0, 6);
    Twin mean(1, rows);
    Twin reciprocal(1, rows);
    Twin dscale(1, n, DType::kFloat32, 0, 7);
    Twin dshift(1, n, DType::kFloat32, 0, 8);
    const std::vector<float> scratch(static_cast<std::size_t>(norm_backward_scratch(rows, n)));
    const auto forward = [&](Side side) {
      return Norm{.rows = rows,
                  .n = n,
                  .layer_norm = layer_norm,
                  .x = x.at(side),
                  .scale = scale.at(side),
                  .shift = layer_norm ? shift.at(side) : nullptr,
                  .y = y.at(side),
                  .mean = layer_norm ? mean.floats(side) : nullptr,
                  .reciprocal = reciprocal.floats(side),
                  .dtype = dtype};
    };
    const auto backward = [&](Side side) {
      return NormBackward{.rows = rows,
                          .n = n,
                          .layer_norm = layer_norm,
                          .dy = dy.at(side),
                          .x = x.at(side),
                          .scale = scale.at(side),
                          .mean = layer_norm ? mean.floats(side) : nullptr,
                          .reciprocal = reciprocal.floats(side),
                          .residual = residual.at(side),
                          .dx = residual.at(side),
                          .scale_gradient = dscale.floats(side),
                          .shift_gradient = layer_norm ? dshift.floats(side) : nullptr,
                          .scratch = const_cast<float*>(at(side, scratch)),
                          .dtype = dtype,
                          .accumulate = rows % 2 == 0};
    };
    expect_parity(device_->kernels.norm, forward, {&x, &scale, &shift, &y, &mean, &reciprocal},
                  2e-6);
    const auto of_sum = [&](Side side) {
      Norm norm = forward(side);
      norm.residual = dy.at(side);
      norm.sum = x.at(side);
      return norm;
    };
    expect_parity(device_->kernels.norm, of_sum, {&x, &dy, &scale, &shift, &y, &mean, &reciprocal},
                  2e-6);
    expect_parity(device_->kernels.norm_backward, backward,
                  {&dy, &x, &scale, &mean, &reciprocal, &residual, &dscale, &dshift}, 4e-6);
  }
};

TEST_F(CudaNorm, AgreesForwardAndBackward) {
  std::vector<std::pair<int, int>> shapes = {{0, 5}, {1, 1}, {3, 17}, {49, 72}};
  if (!device_->is_emulated()) shapes.insert(shapes.end(), {{130, 768}, {1025, 300}});
  for (const auto& [rows, n] : shapes) {
    for (const DType dtype : kTypes) {
      for (const bool layer_norm : {true, false}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << n << ' ' << name_of(dtype));
        check(rows, n, layer_norm, dtype);
      }
    }
  }
}

class CudaAttention : public CudaParity {
 protected:
  // Padded rows are the tiled kernels'; others cuDNN's where there is one, which rounds
  // probabilities and their gradients to bf16 before it multiplies them.
  void check(const AttentionShape& shape, DType dtype, bool padded);
};

void CudaAttention::check(const AttentionShape& shape, DType dtype, bool padded) {
  const auto tokens = static_cast<std::int64_t>(shape.tokens());
  const auto q_width = static_cast<std::int64_t>(shape.heads * shape.width);
  const auto kv_width = static_cast<std::int64_t>(shape.kv_heads * shape.width);
  Twin qkv(tokens, q_width + 2 * kv_width, dtype, 0, 1, 1.5);
  Twin out(tokens, q_width, dtype, padded ? 3 : 0);
  Twin log_sum(static_cast<std::int64_t>(shape.sequences * shape.heads),
               static_cast<std::int64_t>(shape.length));
  Twin dout(tokens, q_width, dtype, padded ? 1 : 0, 2);
  Twin dq(tokens, q_width, dtype, padded ? 2 : 0);
  Twin dk(tokens, kv_width, dtype);
  Twin dv(tokens, kv_width, dtype, padded ? 5 : 0);
  const auto forward = [&](Side side) {
    auto* base = static_cast<std::byte*>(qkv.at(side));
    return Attention{.sequences = static_cast<std::int64_t>(shape.sequences),
                     .length = static_cast<std::int64_t>(shape.length),
                     .heads = static_cast<std::int64_t>(shape.heads),
                     .kv_heads = static_cast<std::int64_t>(shape.kv_heads),
                     .head_width = static_cast<std::int64_t>(shape.width),
                     .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.width))),
                     .q = base,
                     .k = base + bytes_of(dtype, q_width).value,
                     .v = base + bytes_of(dtype, q_width + kv_width).value,
                     .q_stride = qkv.host.stride(),
                     .k_stride = qkv.host.stride(),
                     .v_stride = qkv.host.stride(),
                     .out = out.at(side),
                     .out_stride = out.host.stride(),
                     .log_sum = log_sum.floats(side),
                     .dtype = dtype};
  };
  const std::vector<float> scratch(
      static_cast<std::size_t>(attention_backward_scratch(forward(Side::kHost))));
  const auto backward = [&](Side side) {
    return AttentionBackward{.forward = forward(side),
                             .dout = dout.at(side),
                             .dout_stride = dout.host.stride(),
                             .dq = dq.at(side),
                             .dk = dk.at(side),
                             .dv = dv.at(side),
                             .dq_stride = dq.host.stride(),
                             .dk_stride = dk.host.stride(),
                             .dv_stride = dv.host.stride(),
                             .scratch = const_cast<float*>(at(side, scratch))};
  };
  expect_parity(device_->kernels.attention, forward, {&qkv, &out, &log_sum}, padded ? 4e-6 : 5e-3);
  // Both from the host's out and log_sum.
  expect_parity(device_->kernels.attention_backward, backward,
                {&qkv, &out, &log_sum, &dout, &dq, &dk, &dv}, padded ? 1e-5 : 2e-2);
}

TEST_F(CudaAttention, AgreesForwardAndBackward) {
  std::vector<AttentionShape> shapes = attention_edge_cases();
  if (!device_->is_emulated()) {
    for (const AttentionShape& shape : attention_training_cases()) shapes.push_back(shape);
  }
  // Heads of the two wide tile shapes.
  shapes.insert(shapes.end(), {{1, 130, 4, 2, 128}, {2, 70, 2, 1, 100}, {1, 100, 2, 2, 256}});
  for (const AttentionShape& shape : shapes) {
    for (const DType dtype : kTypes) {
      SCOPED_TRACE(testing::Message()
                   << "length " << shape.length << " heads " << shape.heads << '/' << shape.kv_heads
                   << " width " << shape.width << ' ' << name_of(dtype));
      check(shape, dtype, true);
    }
  }
}

using CudaSmallAttention = CudaAttention;
TEST_F(CudaSmallAttention, AgreesForwardAndBackward) {
  for (const std::size_t width : {24U, 100U, 256U}) {
    check({1, 70, 4, 2, width}, DType::kFloat32, true);
  }
}

TEST_F(CudaAttention, OfAlignedRowsAgreesForwardAndBackward) {
  std::vector<AttentionShape> shapes = {{2, 49, 4, 2, 24}, {1, 130, 6, 2, 64}, {1, 70, 4, 4, 128}};
  if (!device_->is_emulated()) {
    for (const AttentionShape& shape : attention_training_cases()) shapes.push_back(shape);
    shapes.push_back({3, 1023, 8, 2, 64});  // cut, with rows of log_sum at odd multiples of 4 bytes
  }
  for (const AttentionShape& shape : shapes) {
    SCOPED_TRACE(testing::Message()
                 << shape.sequences << " x " << shape.length << " heads " << shape.heads << '/'
                 << shape.kv_heads << " width " << shape.width);
    check(shape, DType::kBFloat16, false);
  }
}

}  // namespace
}  // namespace sluice

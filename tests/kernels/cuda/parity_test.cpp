// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Every CUDA kernel against the host's, at the sizes of the host's own tests.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cuda/device_side.h"
#include "tests/support/adamw_cases.h"
#include "tests/support/attention_cases.h"
#include "tests/support/matmul_cases.h"

namespace sluice {
namespace {

const std::int64_t kCounts[] = {0, 1, 15, 33, 20000};

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
  for (const std::vector<MatmulCase>& cases : {matmul_edge_cases(), matmul_training_cases()}) {
    for (const MatmulCase& shape : cases) {
      for (const DType dtype : kBothTypes) {
        for (const DType output : kBothTypes) check(shape, dtype, output);
      }
    }
  }
}

class CudaElementwise : public CudaParity {};

TEST_F(CudaElementwise, GeluAgreesInBothFormsForwardAndBackward) {
  for (const std::int64_t count : kCounts) {
    for (const DType dtype : kBothTypes) {
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
    for (const DType dtype : kBothTypes) {
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
  for (const std::int64_t count : kCounts) {
    for (const DType dtype : kBothTypes) {
      Twin a(1, count, dtype, 0, 1);
      Twin b(1, count, dtype, 0, 2);
      const auto add = [&](Side side) {
        return Add{count, a.at(side), b.at(side), a.at(side), dtype};
      };
      expect_parity(device_->kernels.add, add, {&a, &b}, 0.0);
      for (const DType to_dtype : kBothTypes) {
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
  for (const std::int64_t tokens : {0, 20, 74}) {
    for (const DType dtype : kBothTypes) {
      for (const bool inverse : {false, true}) {
        Twin x(tokens, 3 * 24, dtype, 5);
        const auto call = [&](Side side) {
          return Rope{.tokens = tokens,
                      .length = 37,
                      .heads = 3,
                      .head_width = 24,
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
    expect_parity(device_->kernels.norm_backward, backward,
                  {&dy, &x, &scale, &mean, &reciprocal, &residual, &dscale, &dshift}, 4e-6);
  }
};

TEST_F(CudaNorm, AgreesForwardAndBackward) {
  for (const auto& [rows, n] :
       {std::pair{0, 5}, {1, 1}, {3, 17}, {49, 72}, {130, 768}, {1025, 300}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool layer_norm : {true, false}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << n << ' ' << name_of(dtype));
        check(rows, n, layer_norm, dtype);
      }
    }
  }
}

class CudaAttention : public CudaParity {
 protected:
  void check(const AttentionShape& shape, DType dtype);
};

void CudaAttention::check(const AttentionShape& shape, DType dtype) {
  const auto tokens = static_cast<std::int64_t>(shape.tokens());
  const auto q_width = static_cast<std::int64_t>(shape.heads * shape.width);
  const auto kv_width = static_cast<std::int64_t>(shape.kv_heads * shape.width);
  Twin qkv(tokens, q_width + 2 * kv_width, dtype, 0, 1, 1.5);
  Twin out(tokens, q_width, dtype, 3);
  Twin log_sum(static_cast<std::int64_t>(shape.sequences * shape.heads),
               static_cast<std::int64_t>(shape.length));
  Twin dout(tokens, q_width, dtype, 1, 2);
  Twin dq(tokens, q_width, dtype, 2);
  Twin dk(tokens, kv_width, dtype);
  Twin dv(tokens, kv_width, dtype, 5);
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
  expect_parity(device_->kernels.attention, forward, {&qkv, &out, &log_sum}, 4e-6);
  // Both from the host's out and log_sum.
  expect_parity(device_->kernels.attention_backward, backward,
                {&qkv, &out, &log_sum, &dout, &dq, &dk, &dv}, 1e-5);
}

TEST_F(CudaAttention, AgreesForwardAndBackward) {
  std::vector<AttentionShape> shapes = attention_edge_cases();
  for (const AttentionShape& shape : attention_training_cases()) shapes.push_back(shape);
  // Heads of the two wide tile shapes.
  shapes.insert(shapes.end(), {{1, 130, 4, 2, 128}, {2, 70, 2, 1, 100}, {1, 100, 2, 2, 256}});
  for (const AttentionShape& shape : shapes) {
    for (const DType dtype : kBothTypes) {
      SCOPED_TRACE(testing::Message()
                   << "length " << shape.length << " heads " << shape.heads << '/' << shape.kv_heads
                   << " width " << shape.width << ' ' << name_of(dtype));
      check(shape, dtype);
    }
  }
}

class CudaTokens : public CudaParity {};

std::vector<std::int32_t> some_ids(std::int64_t count, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(i * i * 7919 % vocabulary));
  }
  return ids;
}

struct TokenCase {
  std::int64_t tokens, length, width, vocabulary;
};

TEST_F(CudaTokens, EmbeddingAgreesWithAndWithoutPositions) {
  for (const TokenCase& c : {TokenCase{0, 7, 5, 3}, {14, 7, 37, 11}, {600, 100, 1030, 50}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool with_positions : {false, true}) {
        Twin table(c.vocabulary, c.width, dtype, 0, 1);
        Twin positions(c.length, c.width, dtype, 0, 2);
        Twin out(c.tokens, c.width, dtype);
        const auto ids = some_ids(c.tokens, c.vocabulary);
        const auto call = [&](Side side) {
          return Embedding{.tokens = c.tokens,
                           .length = c.length,
                           .width = c.width,
                           .vocabulary = c.vocabulary,
                           .ids = at(side, ids),
                           .token_table = table.at(side),
                           .position_table = with_positions ? positions.at(side) : nullptr,
                           .out = out.at(side),
                           .dtype = dtype};
        };
        expect_parity(device_->kernels.embedding, call, {&table, &positions, &out}, 0.0);
      }
    }
  }
}

// The host adds in token order too: the same bits.
TEST_F(CudaTokens, EmbeddingBackwardGivesTheSameBits) {
  for (const TokenCase& c : {TokenCase{0, 7, 5, 3}, {14, 7, 130, 11}, {600, 100, 1030, 50}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool accumulate : {false, true}) {
        Twin dout(c.tokens, c.width, dtype, 0, 1);
        Twin tokens(c.vocabulary, c.width, DType::kFloat32, 0, 2);
        Twin positions(c.length + 2, c.width, DType::kFloat32, 0, 3);
        const auto ids = some_ids(c.tokens, c.vocabulary);
        const auto call = [&](Side side) {
          return EmbeddingBackward{.tokens = c.tokens,
                                   .length = c.length,
                                   .width = c.width,
                                   .vocabulary = c.vocabulary,
                                   .ids = at(side, ids),
                                   .dout = dout.at(side),
                                   .token_gradient = tokens.floats(side),
                                   .position_gradient = positions.floats(side),
                                   .positions = c.length + 2,
                                   .dtype = dtype,
                                   .accumulate = accumulate};
        };
        expect_parity(device_->kernels.embedding_backward, call, {&dout, &tokens, &positions}, 0.0);
      }
    }
  }
}

TEST_F(CudaTokens, CrossEntropyAgreesWithMaskedRowsForwardAndInPlace) {
  for (const auto& [rows, vocabulary] : {std::pair{0, 5}, {1, 1}, {5, 257}, {3, 9000}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool backward : {false, true}) {
        Twin logits(rows, vocabulary, dtype, 3, 1, 4.0);
        Twin loss(1, rows);
        Twin scale(1, 1);
        auto targets = some_ids(rows, vocabulary);
        if (rows > 1) targets[1] = -1;
        const auto call = [&, r = rows, v = vocabulary](Side side) {
          return CrossEntropy{.rows = r,
                              .vocabulary = v,
                              .logits = logits.at(side),
                              .stride = logits.host.stride(),
                              .targets = at(side, targets),
                              .scale = scale.floats(side),
                              .loss = loss.floats(side),
                              .backward = backward,
                              .dtype = dtype};
        };
        expect_parity(device_->kernels.cross_entropy, call, {&logits, &loss, &scale}, 2e-6);
      }
    }
  }
}

class CudaReductions : public CudaParity {};

TEST_F(CudaReductions, ColumnSumAgreesAtAnyStride) {
  for (const auto& [rows, n] : {std::pair{0, 5}, {1, 1}, {65, 130}, {1000, 72}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool accumulate : {false, true}) {
        Twin x(rows, n, dtype, 3);
        Twin gradient(1, n);
        const auto call = [&, r = rows, width = n](Side side) {
          return ColumnSum{.rows = r,
                           .n = width,
                           .x = x.at(side),
                           .stride = x.host.stride(),
                           .gradient = gradient.floats(side),
                           .dtype = dtype,
                           .accumulate = accumulate};
        };
        expect_parity(device_->kernels.column_sum, call, {&x, &gradient}, 2e-6);
      }
    }
  }
}

TEST_F(CudaReductions, SumAgrees) {
  for (const std::int64_t count : {0, 1, 31, 16385, 2000000}) {
    for (const bool accumulate : {false, true}) {
      Twin x(1, count);
      Twin total(1, 1);
      const auto call = [&](Side side) {
        return Sum{count, x.floats(side), total.floats(side), accumulate};
      };
      expect_parity(device_->kernels.sum, call, {&x, &total}, 1e-6);
    }
  }
}

// The order of additions is the host's: a norm does not depend on where its gradients lie.
TEST_F(CudaReductions, NormOfGradientsHasTheHostsBits) {
  for (const std::int64_t count :
       {std::int64_t{0}, std::int64_t{1}, 3 * kNormChunk + 5, 40 * kNormChunk}) {
    for (const DType dtype : kBothTypes) {
      Twin x(1, count, dtype);
      std::vector<double> expected(static_cast<std::size_t>(norm_chunks(count)));
      std::vector<double> actual(expected.size());
      x.keep_start();
      device_->clear();
      x.upload(*device_, 4);
      double* partials = device_->uploaded(actual);
      run_on_host(workers_, SquaredNorm{count, x.host.data(), expected.data(), dtype});
      device_->kernels.squared_norm(device_->queue(),
                                    {count, x.at(Side::kDevice), partials, dtype});
      device_->download(&actual, partials);
      EXPECT_EQ(actual, expected);

      std::vector<NormResult> on_host(1);
      std::vector<NormResult> on_device(1);
      NormResult* result = device_->uploaded(on_device);
      run_on_host(workers_, FinishNorm{std::ssize(expected), expected.data(), 1.0F, &on_host[0]});
      device_->kernels.finish_norm(device_->queue(),
                                   {std::ssize(expected), partials, 1.0F, result});
      device_->download(&on_device, result);
      EXPECT_EQ(on_device[0].norm, on_host[0].norm);
      EXPECT_EQ(on_device[0].scale, on_host[0].scale);
      EXPECT_EQ(on_device[0].finite, 1);
    }
  }
}

TEST_F(CudaReductions, FinishNormSeesNanAndInfinity) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), 1e80}) {
    device_->clear();
    const double* partials = device_->uploaded(std::vector<double>{1.0, bad});
    std::vector<NormResult> result(1);
    NormResult* to = device_->uploaded(result);
    device_->kernels.finish_norm(device_->queue(), {2, partials, 1.0F, to});
    device_->download(&result, to);
    EXPECT_EQ(result[0].finite, 0);
    EXPECT_EQ(result[0].bad_partial, std::isfinite(bad) ? 0 : 2);
  }
}

TEST_F(CudaReductions, DigestIsTheHosts) {
  for (const std::int64_t count : {0, 1, 1000, 200001}) {
    for (const DType dtype : kBothTypes) {
      Twin x(1, count, dtype);
      std::uint64_t expected = 3;
      std::vector<std::uint64_t> actual{3};
      x.keep_start();
      device_->clear();
      x.upload(*device_, 4);
      std::uint64_t* to = device_->uploaded(actual);
      run_on_host(workers_, Digest{count, x.host.data(), dtype, 5, 77, &expected});
      device_->kernels.digest(device_->queue(), {count, x.at(Side::kDevice), dtype, 5, 77, to});
      device_->download(&actual, to);
      EXPECT_EQ(actual[0], expected);
    }
  }
}

class CudaAdamW : public CudaParity {
 protected:
  void check(std::int64_t elements, const AdamWTypes& types, const NormResult& norm) {
    Twin gradient(1, elements, types.gradient, 0, 1);
    Twin master(1, elements, DType::kFloat32, 0, 2);
    Twin first(1, elements, types.moments, 0, 3, 0.1);
    Twin second(1, elements, types.moments, 0, 4);
    Twin weight(1, elements, types.weight, 0, 5);
    for (std::int64_t i = 0; i < elements; ++i) {
      second.host.set(0, i, std::abs(second.host.get(0, i)));
    }
    const std::vector<NormResult> norms{norm};
    const auto call = [&](Side side) {
      return AdamW{.count = elements,
                   .learning_rate = 1e-3F,
                   .beta1 = 0.9F,
                   .beta2 = 0.95F,
                   .epsilon = 1e-8F,
                   .weight_decay = 0.1F,
                   .step = 3,
                   .gradient = gradient.at(side),
                   .gradient_dtype = types.gradient,
                   .master = master.floats(side),
                   .first_moment = first.at(side),
                   .second_moment = second.at(side),
                   .moment_dtype = types.moments,
                   .weight = weight.at(side),
                   .weight_dtype = types.weight,
                   .norm = at(side, norms)};
    };
    // The formula is one, and made of IEEE operations alone.
    expect_parity(device_->kernels.adamw, call, {&gradient, &master, &first, &second, &weight},
                  0.0);
  }
};

TEST_F(CudaAdamW, GivesTheHostsBitsForEveryMixOfTypes) {
  for (const AdamWTypes& types : adamw_types()) {
    for (const std::int64_t elements : adamw_edge_counts()) {
      check(elements, types, {.norm = 4, .scale = 0.25F});
    }
  }
}

TEST_F(CudaAdamW, LeavesTheStateWhereTheNormIsNotFinite) {
  check(1000, {DType::kBFloat16, DType::kFloat32, DType::kBFloat16}, {.finite = 0});
}

}  // namespace
}  // namespace sluice

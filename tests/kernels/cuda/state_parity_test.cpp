// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// CUDA kernels of tokens, sums and the optimizer against the host's, at the sizes of the
// host's own tests.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cuda/device_side.h"
#include "tests/support/adamw_cases.h"

namespace sluice {
namespace {

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
    for (const DType dtype : kTypes) {
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
    for (const DType dtype : kTypes) {
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
    for (const DType dtype : kTypes) {
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
    for (const DType dtype : kTypes) {
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
    for (const DType dtype : kTypes) {
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

TEST_F(CudaReductions, FinishNormAddsInTheHostsOrder) {
  for (const std::int64_t count : {0, 1, 256, 257, 1000}) {
    device_->clear();
    std::vector<double> values;
    for (std::int64_t i = 0; i < count; ++i) values.push_back(1.0 / static_cast<double>(i + 1));
    std::vector<NormResult> on_host(1);
    run_on_host(workers_, FinishNorm{count, values.data(), 1.0F, &on_host[0]});
    std::vector<NormResult> on_device(1);
    NormResult* to = device_->uploaded(on_device);
    device_->kernels.finish_norm(device_->queue(), {count, device_->uploaded(values), 1.0F, to});
    device_->download(&on_device, to);
    EXPECT_EQ(on_device[0].norm, on_host[0].norm) << count;
    EXPECT_EQ(on_device[0].scale, on_host[0].scale) << count;
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
    for (const DType dtype : kTypes) {
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

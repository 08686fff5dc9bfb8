// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/cross_entropy_ref.h"
#include "tests/support/finite_difference.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

std::vector<std::int32_t> some_ids(std::int64_t count, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(i * i * 7919 % vocabulary));
  }
  return ids;
}

TEST(Embedding, LooksUpTokensAndAddsPositionsOfTheirSequence) {
  Workers workers(2);
  for (const DType dtype : kBothTypes) {
    Tensor table(11, 37, dtype);
    Tensor positions(9, 37, dtype);
    Tensor out(14, 37, dtype);
    table.randomize(1);
    positions.randomize(2);
    const auto ids = some_ids(14, 11);
    std::vector<double> expected;
    for (std::int64_t t = 0; t < 14; ++t) {
      for (std::int64_t i = 0; i < 37; ++i) {
        expected.push_back(table.get(ids[static_cast<std::size_t>(t)], i) +
                           positions.get(t % 7, i));
      }
    }
    run_on_host(workers, Embedding{.tokens = 14,
                                   .length = 7,
                                   .width = 37,
                                   .vocabulary = 11,
                                   .ids = ids.data(),
                                   .token_table = table.data(),
                                   .position_table = positions.data(),
                                   .out = out.data(),
                                   .dtype = dtype});
    EXPECT_TRUE(close(out, expected, 1e-7));
  }
}

TEST(Embedding, BackwardAddsEveryTokensRowAndClearsTheOthers) {
  Workers workers(2);
  for (const bool accumulate : {false, true}) {
    for (const DType dtype : kBothTypes) {
      Tensor dout(14, 130, dtype);
      Tensor tokens(11, 130);
      Tensor positions(9, 130);
      dout.randomize(1);
      tokens.randomize(2);
      positions.randomize(3);
      const auto ids = some_ids(14, 11);
      std::vector<double> dtoken = tokens.values();
      std::vector<double> dposition = positions.values();
      if (!accumulate) {
        std::fill(dtoken.begin(), dtoken.end(), 0.0);
        std::fill(dposition.begin(), dposition.end(), 0.0);
      }
      for (std::int64_t i = 0; i < 14 * 130; ++i) {
        const std::int64_t t = i / 130;
        const auto id = static_cast<std::int64_t>(ids[static_cast<std::size_t>(t)]);
        dtoken[static_cast<std::size_t>(id * 130 + i % 130)] += dout.get(t, i % 130);
        dposition[static_cast<std::size_t>(t % 7 * 130 + i % 130)] += dout.get(t, i % 130);
      }
      run_on_host(workers, EmbeddingBackward{.tokens = 14,
                                             .length = 7,
                                             .width = 130,
                                             .vocabulary = 11,
                                             .ids = ids.data(),
                                             .dout = dout.data(),
                                             .token_gradient = tokens.floats(),
                                             .position_gradient = positions.floats(),
                                             .positions = 9,
                                             .dtype = dtype,
                                             .accumulate = accumulate});
      EXPECT_TRUE(close(tokens, dtoken, 1e-6));
      EXPECT_TRUE(close(positions, dposition, 1e-6));
    }
  }
}

void expect_cross_entropy(std::int64_t rows, std::int64_t vocabulary, DType dtype) {
  Workers workers(2);
  Tensor logits(rows, vocabulary, dtype, 3);
  Tensor loss(1, rows);
  Tensor scale(1, 1);
  logits.randomize(1, 4.0);
  scale.set(0, 0, 0.125);
  std::vector<std::int32_t> targets = some_ids(rows, vocabulary);
  if (rows > 1) targets[1] = -1;
  const CrossEntropyRef<double> reference{static_cast<std::size_t>(rows),
                                          static_cast<std::size_t>(vocabulary), logits.values(),
                                          targets};
  CrossEntropy call{.rows = rows,
                    .vocabulary = vocabulary,
                    .logits = logits.data(),
                    .stride = logits.stride(),
                    .targets = targets.data(),
                    .scale = scale.floats(),
                    .loss = loss.floats(),
                    .dtype = dtype};

  run_on_host(workers, call);
  EXPECT_TRUE(close(loss, reference.loss(), 1e-6));
  EXPECT_TRUE(close(logits, reference.logits, 0.0)) << "forward alone leaves the logits";

  call.backward = true;
  run_on_host(workers, call);
  EXPECT_TRUE(close(loss, reference.loss(), 1e-6));
  EXPECT_TRUE(close(logits, reference.gradient(0.125), 1e-6));
}

TEST(CrossEntropy, MatchesTheReferenceAndSkipsMaskedRows) {
  for (const auto& [rows, vocabulary] : {std::pair{0, 5}, {1, 1}, {5, 257}, {3, 9000}}) {
    for (const DType dtype : kBothTypes) expect_cross_entropy(rows, vocabulary, dtype);
  }
}

TEST(CrossEntropy, ReferenceGradientIsThatOfFiniteDifferences) {
  CrossEntropyRef<double> reference{2, 5, {1, -2, 0.5, 3, 0, 2, 2, -1, 0, 1}, {3, 0}};
  const std::vector<double> gradient = reference.gradient(1.0);
  EXPECT_LT(gradient_error(&reference.logits, gradient,
                           [&] {
                             const auto loss = reference.loss();
                             return std::accumulate(loss.begin(), loss.end(), 0.0);
                           }),
            1e-8);
}

TEST(CrossEntropy, HugeLogitsGiveAFiniteLoss) {
  Workers workers(1);
  Tensor logits(1, 3);
  logits.set_values({1e4, -1e4, 9e3});
  Tensor loss(1, 1);
  const std::int32_t target = 2;
  run_on_host(workers, CrossEntropy{.rows = 1,
                                    .vocabulary = 3,
                                    .logits = logits.data(),
                                    .stride = 3,
                                    .targets = &target,
                                    .loss = loss.floats()});
  EXPECT_FLOAT_EQ(static_cast<float>(loss.get(0, 0)), 1000.0F);
}

TEST(EmbeddingDeathTest, RefusesATokenOutsideTheVocabulary) {
  Workers workers(1);
  Tensor table(2, 1);
  Tensor out(1, 1);
  const std::int32_t id = 2;
  EXPECT_DEATH(run_on_host(workers, Embedding{.tokens = 1,
                                              .length = 1,
                                              .width = 1,
                                              .vocabulary = 2,
                                              .ids = &id,
                                              .token_table = table.data(),
                                              .out = out.data()}),
               "vocabulary");
}

}  // namespace
}  // namespace sluice

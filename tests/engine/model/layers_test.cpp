// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Whole models on the host device, against themselves: central differences, other
// micro-batch sizes and types. The goldens hold them against PyTorch.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "tests/support/resident_trainer.h"

namespace sluice {
namespace {

constexpr std::int64_t kTokens = 11;
constexpr std::int64_t kBatch = 4;

// Width 24 leaves gaps between all tensors, so that q, k, v cannot be one matrix; width
// 64 leaves none.
ModelShape tiny(Family family, std::int64_t width) {
  const bool gpt2 = family == Family::kGpt2;
  return {.family = family,
          .layers = 2,
          .width = width,
          .heads = 4,
          .kv_heads = gpt2 ? 4 : 2,
          .head_width = width / 4,
          .ffn_width = 40,
          .vocabulary = 29,
          .context = kTokens + 2,
          .tied = gpt2,
          .qkv_bias = !gpt2,
          .init_std = 0.2F};
}

struct FixedTokens {
  std::vector<std::int32_t> ids, targets;
};

FixedTokens some_tokens() {
  std::mt19937 random(5);
  std::uniform_int_distribution<std::int32_t> token(0, 28);
  FixedTokens tokens;
  for (std::int64_t i = 0; i < kBatch * kTokens; ++i) {
    tokens.ids.push_back(token(random));
    tokens.targets.push_back(i % 7 == 3 ? -1 : token(random));
  }
  return tokens;
}

std::unique_ptr<ResidentTrainer> trainer_of(const ModelShape& shape, std::int64_t micro_batch,
                                            DType dtype = DType::kFloat32) {
  auto trainer = std::make_unique<ResidentTrainer>(
      make_model(shape, {.dtype = dtype, .global_batch = kBatch, .length = kTokens}), micro_batch,
      /*threads=*/2);
  for (std::size_t f = 0; f < trainer->workload().flats.size(); ++f) {
    std::vector<float> values(static_cast<std::size_t>(trainer->workload().flats[f].count));
    initial_values(trainer->workload(), shape, static_cast<int>(f), 0, values, 3);
    trainer->set_weights(f, values);
  }
  return trainer;
}

struct Case {
  Family family;
  std::int64_t width;
};

class Layers : public testing::TestWithParam<Case> {
 protected:
  ModelShape shape() const { return tiny(GetParam().family, GetParam().width); }
};

// Along a random direction in all weights at once: the gradient's share of it is the
// slope of the loss. fp32 losses leave about 1e-3 of a slope near 1.
TEST_P(Layers, GradientIsTheSlopeOfTheLoss) {
  const auto trainer = trainer_of(shape(), kBatch);
  const FixedTokens tokens = some_tokens();
  trainer->gradients(tokens.ids, tokens.targets, 0);
  const auto unmasked = std::ranges::count_if(tokens.targets, [](auto t) { return t >= 0; });

  for (std::size_t f = 0; f < trainer->workload().flats.size(); ++f) {
    const std::span<const float> weights = trainer->weights(f);
    const std::vector<float> original(weights.begin(), weights.end());
    const std::span<const float> gradient = trainer->gradient(f);
    // Along the gradient itself, so that the slope is its norm and nothing cancels.
    const double norm = std::sqrt(std::transform_reduce(
        gradient.begin(), gradient.end(), 0.0, std::plus<>(),
        [](float g) { return static_cast<double>(g) * static_cast<double>(g); }));
    ASSERT_GT(norm, 0) << trainer->workload().flats[f].name;
    constexpr double kStep = 4e-3;
    const auto loss_at = [&](double step) {
      std::vector<float> moved = original;
      for (std::size_t i = 0; i < moved.size(); ++i) {
        moved[i] += static_cast<float>(step / norm * static_cast<double>(gradient[i]));
      }
      trainer->set_weights(f, moved);
      return trainer->forward_loss(tokens.ids, tokens.targets) / static_cast<double>(unmasked);
    };
    const double slope = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    trainer->set_weights(f, original);
    EXPECT_NEAR(slope / norm, 1.0, 5e-3) << trainer->workload().flats[f].name;
  }
}

TEST_P(Layers, MicroBatchesAddUpToTheWhole) {
  const FixedTokens tokens = some_tokens();
  const auto whole = trainer_of(shape(), kBatch);
  const auto parts = trainer_of(shape(), 1);
  const auto a = whole->gradients(tokens.ids, tokens.targets, 0);
  const auto b = parts->gradients(tokens.ids, tokens.targets, 0);
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * a.loss);
  EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-6 * a.gradient_norm);
}

// Accumulators start as NaN here: what is not written shows.
TEST_P(Layers, BackwardWritesEveryGradientAndNothingElse) {
  const FixedTokens tokens = some_tokens();
  const auto trainer = trainer_of(shape(), 2);
  trainer->gradients(tokens.ids, tokens.targets, 0);
  for (std::size_t f = 0; f < trainer->workload().flats.size(); ++f) {
    const FlatParameter& flat = trainer->workload().flats[f];
    const std::span<const float> gradient = trainer->gradient(f);
    std::vector<bool> gap(gradient.size(), true);
    for (const TensorSpec& tensor : flat.tensors) {
      std::fill_n(gap.begin() + tensor.offset, tensor.count, false);
    }
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      ASSERT_TRUE(std::isfinite(gradient[i])) << flat.name << " " << i;
      ASSERT_TRUE(!gap[i] || gradient[i] == 0.0F) << flat.name << " " << i;
    }
  }
  EXPECT_TRUE(trainer->buffers_intact());
}

TEST_P(Layers, ForwardLossIsThatOfBackward) {
  const FixedTokens tokens = some_tokens();
  const auto trainer = trainer_of(shape(), kBatch);
  const auto result = trainer->gradients(tokens.ids, tokens.targets, 0);
  const auto unmasked = std::ranges::count_if(tokens.targets, [](auto t) { return t >= 0; });
  EXPECT_EQ(trainer->forward_loss(tokens.ids, tokens.targets) / static_cast<double>(unmasked),
            result.loss);
}

// Asked for the loss of one target at each last position, and for the logits there.
TEST_P(Layers, LogitsAreThoseThatTheLossIsMadeOf) {
  FixedTokens tokens = some_tokens();
  for (std::int64_t i = 0; i < kBatch * kTokens; ++i) {
    tokens.targets[static_cast<std::size_t>(i)] = i % kTokens == kTokens - 1 ? 17 : -1;
  }
  const auto trainer = trainer_of(shape(), kBatch);
  std::vector<float> logits;
  const double loss = trainer->forward_loss(tokens.ids, tokens.targets, &logits);
  ASSERT_EQ(logits.size(), static_cast<std::size_t>(kBatch) * 29);
  double expected = 0;
  for (std::size_t row = 0; row < logits.size(); row += 29) {
    double sum = 0;
    for (std::size_t i = 0; i < 29; ++i) sum += std::exp(static_cast<double>(logits[row + i]));
    expected += std::log(sum) - static_cast<double>(logits[row + 17]);
  }
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
}

TEST_P(Layers, BFloat16StaysNearFloat32AndLearns) {
  const FixedTokens tokens = some_tokens();
  const auto exact = trainer_of(shape(), 2);
  const auto rounded = trainer_of(shape(), 2, DType::kBFloat16);
  const auto a = exact->gradients(tokens.ids, tokens.targets, 0);
  const auto b = rounded->gradients(tokens.ids, tokens.targets, 0);
  EXPECT_NEAR(a.loss, b.loss, 0.02 * a.loss);
  EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 0.05 * a.gradient_norm);

  double last = 0;
  for (int step = 0; step < 40; ++step) {
    last = rounded->step(tokens.ids, tokens.targets, {.lr = 3e-3, .clip = 1.0}).loss;
  }
  EXPECT_LT(last, 0.5 * b.loss);
}

INSTANTIATE_TEST_SUITE_P(Families, Layers,
                         testing::Values(Case{Family::kGpt2, 24}, Case{Family::kGpt2, 64},
                                         Case{Family::kLlama, 24}, Case{Family::kLlama, 64}),
                         [](const testing::TestParamInfo<Case>& test) {
                           return (test.param.family == Family::kGpt2 ? "gpt2_width_"
                                                                      : "llama_width_") +
                                  std::to_string(test.param.width);
                         });

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/initial_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/model/model.h"

namespace sluice {
namespace {

ModelShape shape_of(Family family) {
  return {.family = family,
          .layers = 2,
          .width = 72,
          .heads = 3,
          .kv_heads = 3,
          .head_width = 24,
          .ffn_width = 100,
          .vocabulary = 257,
          .context = 50,
          .tied = false,
          .qkv_bias = true};
}

std::vector<float> whole(const Workload& workload, const ModelShape& shape, int flat,
                         std::uint64_t seed = 1) {
  std::vector<float> values(
      static_cast<std::size_t>(workload.flats[static_cast<std::size_t>(flat)].count));
  initial_values(workload, shape, flat, 0, values, seed);
  return values;
}

class InitialValues : public testing::TestWithParam<Family> {};

TEST_P(InitialValues, SlicesAreThoseOfTheWhole) {
  const ModelShape shape = shape_of(GetParam());
  const Workload workload = make_model(shape, {.length = 8}).workload(1);
  for (int flat = 0; flat < static_cast<int>(workload.flats.size()); ++flat) {
    const std::vector<float> values = whole(workload, shape, flat);
    std::vector<float> pieces(values.size(), -7.0F);
    constexpr std::size_t kPiece = 1237;
    for (std::size_t at = 0; at < pieces.size(); at += kPiece) {
      const std::size_t size = std::min(kPiece, pieces.size() - at);
      initial_values(workload, shape, flat, static_cast<std::int64_t>(at),
                     std::span(pieces).subspan(at, size), 1);
    }
    EXPECT_EQ(values, pieces);
  }
}

TEST_P(InitialValues, HaveTheDeviationOfTheirTensor) {
  const ModelShape shape = shape_of(GetParam());
  const Workload workload = make_model(shape, {.length = 8}).workload(1);
  for (int flat = 0; flat < static_cast<int>(workload.flats.size()); ++flat) {
    const std::vector<float> values = whole(workload, shape, flat);
    for (const TensorSpec& tensor : workload.flats[static_cast<std::size_t>(flat)].tensors) {
      double sum = 0;
      double squares = 0;
      for (std::int64_t i = tensor.offset; i < tensor.offset + tensor.count; ++i) {
        const auto value = static_cast<double>(values[static_cast<std::size_t>(i)]);
        sum += value;
        squares += value * value;
      }
      const auto n = static_cast<double>(tensor.count);
      if (tensor.shape.size() == 1) {
        const double expected = tensor.name.ends_with(".bias") ? 0.0 : 1.0;
        EXPECT_EQ(sum / n, expected) << tensor.name;
        EXPECT_EQ(squares / n, expected) << tensor.name;
        continue;
      }
      const bool residual = tensor.name.ends_with("attn.c_proj.weight") ||
                            tensor.name.ends_with("mlp.c_proj.weight") ||
                            tensor.name.ends_with("o_proj.weight") ||
                            tensor.name.ends_with("down_proj.weight");
      const double deviation = residual ? 0.02 / std::sqrt(4.0) : 0.02;
      EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.06 * deviation) << tensor.name;
      EXPECT_NEAR(sum / n, 0.0, 4 * deviation / std::sqrt(n)) << tensor.name;
    }
  }
}

TEST_P(InitialValues, DifferBetweenSeedsAndLayers) {
  const ModelShape shape = shape_of(GetParam());
  const Workload workload = make_model(shape, {.length = 8}).workload(1);
  EXPECT_NE(whole(workload, shape, 1, 1), whole(workload, shape, 1, 2));
  EXPECT_NE(whole(workload, shape, 1), whole(workload, shape, 2));
}

INSTANTIATE_TEST_SUITE_P(Families, InitialValues, testing::Values(Family::kGpt2, Family::kLlama));

}  // namespace
}  // namespace sluice

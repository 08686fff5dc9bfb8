// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "engine/model/model.h"

namespace sluice {
namespace {

ModelShape gpt2_small() {
  return {.family = Family::kGpt2,
          .layers = 12,
          .width = 768,
          .heads = 12,
          .kv_heads = 12,
          .head_width = 64,
          .ffn_width = 3072,
          .vocabulary = 50257,
          .context = 1024};
}

ModelShape qwen2_7b() {
  return {.family = Family::kLlama,
          .layers = 28,
          .width = 3584,
          .heads = 28,
          .kv_heads = 4,
          .head_width = 128,
          .ffn_width = 18944,
          .vocabulary = 152064,
          .context = 4096,
          .tied = false,
          .bias = false,
          .qkv_bias = true};
}

// Elements of all matrices that multiply tokens: every one but the tables, of which
// a tied one counts as the head.
double matmul_parameters(const Workload& workload, const ModelShape& shape) {
  double total = 0;
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) {
      const bool table = tensor.name.ends_with("wpe.weight") ||
                         (!shape.tied && (tensor.name.ends_with("wte.weight") ||
                                          tensor.name.ends_with("embed_tokens.weight")));
      if (tensor.shape.size() == 2 && !table) total += static_cast<double>(tensor.count);
    }
  }
  return total;
}

class ModelCost : public testing::TestWithParam<ModelShape> {};

// 6 Pm + 6 L d S for each token: the formula every forecast is held against. The head's
// backward does its own forward and has no other.
TEST_P(ModelCost, FlopsOfAStepAreTheFormula) {
  const ModelShape shape = GetParam();
  constexpr std::int64_t kLength = 1024;
  const Workload workload = make_model(shape, {.global_batch = 4, .length = kLength}).workload(2);
  double flops = 0;
  for (std::size_t i = 0; i < workload.layers.size(); ++i) {
    const bool last = i + 1 == workload.layers.size();
    flops += workload.layers[i].backward.flops();
    if (!last) flops += workload.layers[i].forward.flops();
  }
  const double attention = static_cast<double>(shape.layers * shape.query_width() * kLength);
  const double expected = 6 * matmul_parameters(workload, shape) + 6 * attention;
  const auto tokens = static_cast<double>(workload.tokens_per_micro_batch().value);
  EXPECT_NEAR(flops / tokens / expected, 1.0, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ModelCost, testing::Values(gpt2_small(), qwen2_7b()));

TEST(ModelTensors, CountsAreThePublishedOnes) {
  const auto parameters = [](const ModelShape& shape) {
    return make_model(shape, {.length = 1024}).workload(1).parameters();
  };
  EXPECT_EQ(parameters(gpt2_small()), 124'439'808);
  EXPECT_EQ(parameters(qwen2_7b()), 7'615'616'512);
}

TEST(ModelTensors, ATiedMatrixIsAFlatParameterOfTwoLayers) {
  const Workload workload = make_model(gpt2_small(), {.length = 8}).workload(1);
  EXPECT_EQ(workload.flats[0].tensors.size(), 1U);
  EXPECT_EQ(workload.flats[0].tensors[0].name, "transformer.wte.weight");
  EXPECT_EQ(workload.layers.front().flats[0], 0);
  EXPECT_EQ(workload.layers.back().flats.back(), 0);
  for (std::size_t i = 1; i + 1 < workload.layers.size(); ++i) {
    EXPECT_EQ(workload.layers[i].flats.size(), 1U);
  }
}

TEST(ModelTensors, OnlyMatricesDecay) {
  for (const ModelShape& shape : {gpt2_small(), qwen2_7b()}) {
    const Workload workload = make_model(shape, {.length = 8}).workload(1);
    for (const FlatParameter& flat : workload.flats) {
      for (const TensorSpec& tensor : flat.tensors) {
        EXPECT_EQ(tensor.decays, tensor.shape.size() == 2) << tensor.name;
      }
    }
  }
}

// The head works on chunks: its scratch does not grow with tokens x vocabulary.
TEST(ModelCost, TheHeadNeverHoldsAllLogits) {
  const auto head_scratch = [](std::int64_t sequences) {
    const Model model = make_model(gpt2_small(), {.global_batch = 64, .length = 1024});
    return model.workload(sequences).layers.back().backward_workspace.value;
  };
  EXPECT_LT(head_scratch(64) - head_scratch(1), 64 * 1024 * 8);
}

}  // namespace
}  // namespace sluice

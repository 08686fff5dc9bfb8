// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Twenty steps against float64 PyTorch (make_goldens.py), in fp32.

#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/model/model.h"
#include "tests/support/resident_trainer.h"

namespace sluice {
namespace {

// The gradient of GPT-2's K bias is 0 in theory, since it moves all scores of a query
// alike; what fp32 leaves there is noise, which Adam magnifies to whole steps.
bool is_key_bias(const Golden& golden, const std::string& tensor, std::int64_t index) {
  const std::int64_t width = golden.shape.width;
  return tensor.ends_with("attn.c_attn.bias") && index >= width && index < 2 * width;
}

std::unique_ptr<ResidentTrainer> golden_trainer(const Golden& golden, std::int64_t accumulation) {
  auto trainer = std::make_unique<ResidentTrainer>(
      make_model(golden.shape, {.global_batch = golden.global_batch, .length = golden.length}),
      golden.global_batch / accumulation, /*threads=*/2);
  for (std::size_t f = 0; f < trainer->workload().flats.size(); ++f) {
    const FlatParameter& flat = trainer->workload().flats[f];
    std::vector<float> values(static_cast<std::size_t>(flat.count), 0.0F);
    for (const TensorSpec& tensor : flat.tensors) {
      for (std::int64_t i = 0; i < tensor.count; ++i) {
        values[static_cast<std::size_t>(tensor.offset + i)] =
            golden_initial_value(tensor.name, tensor.shape.size() == 2, i);
      }
    }
    trainer->set_weights(f, values);
  }
  return trainer;
}

// Calls visit(tensor, its slice of values(flat)) for every tensor of the model.
template <typename Values, typename Visit>
void for_each_tensor(const Workload& workload, Values values, Visit visit) {
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    for (const TensorSpec& tensor : workload.flats[f].tensors) {
      visit(tensor, values(f).subspan(static_cast<std::size_t>(tensor.offset),
                                      static_cast<std::size_t>(tensor.count)));
    }
  }
}

using Case = std::tuple<std::string, std::int64_t>;  // golden, accumulation

class GoldenTest : public testing::TestWithParam<Case> {};

TEST_P(GoldenTest, TwentyStepsEqualPyTorch) {
  const Golden golden = load_golden(std::get<0>(GetParam()));
  const auto trainer = golden_trainer(golden, std::get<1>(GetParam()));
  const AdamSettings settings{.lr = golden.lr,
                              .beta1 = golden.beta1,
                              .beta2 = golden.beta2,
                              .eps = golden.eps,
                              .weight_decay = golden.weight_decay,
                              .clip = golden.clip};
  double worst_loss = 0;
  double worst_norm = 0;
  for (std::size_t step = 0; step < golden.losses.size(); ++step) {
    const GoldenBatch batch = golden_batch(golden, static_cast<std::int64_t>(step));
    const auto result = trainer->step(batch.ids, batch.targets, settings);
    worst_loss = std::max(worst_loss, std::abs(result.loss / golden.losses[step] - 1.0));
    worst_norm =
        std::max(worst_norm, std::abs(result.gradient_norm / golden.gradient_norms[step] - 1.0));
  }
  EXPECT_LE(worst_loss, 5e-6);
  EXPECT_LE(worst_norm, 2e-5);

  GoldenWeights weights;
  std::size_t compared = 0;
  for_each_tensor(
      trainer->workload(), [&](std::size_t f) { return trainer->weights(f); },
      [&](const TensorSpec& tensor, std::span<const float> values) {
        const GoldenTensor& expected = golden.tensor(tensor.name);
        ASSERT_EQ(expected.count, tensor.count) << tensor.name;
        for (std::int64_t i = 0; i < tensor.count; ++i) {
          if (is_key_bias(golden, tensor.name, i)) continue;
          const auto at = static_cast<std::size_t>(i);
          weights.compare(values[at], expected.final[at]);
        }
        ++compared;
      });
  weights.expect_equal();
  EXPECT_EQ(compared, golden.tensors.size());
  EXPECT_TRUE(trainer->buffers_intact());
  RecordProperty("loss", std::to_string(worst_loss * 1e9) + "e-9");
  RecordProperty("norm", std::to_string(worst_norm * 1e9) + "e-9");
}

// Before Adam, so that every gradient counts by its size, the K bias too.
TEST_P(GoldenTest, EveryTensorsFirstGradientHasPyTorchsNorm) {
  const Golden golden = load_golden(std::get<0>(GetParam()));
  const auto trainer = golden_trainer(golden, std::get<1>(GetParam()));
  const GoldenBatch batch = golden_batch(golden, 0);
  const auto result = trainer->gradients(batch.ids, batch.targets, golden.clip);

  for_each_tensor(
      trainer->workload(), [&](std::size_t f) { return trainer->gradient(f); },
      [&](const TensorSpec& tensor, std::span<const float> values) {
        double squares = 0;
        double key_bias_squares = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double square = static_cast<double>(values[i]) * static_cast<double>(values[i]);
          squares += square;
          if (is_key_bias(golden, tensor.name, static_cast<std::int64_t>(i))) {
            key_bias_squares += square;
          }
        }
        const double expected = golden.tensor(tensor.name).first_gradient_norm;
        EXPECT_NEAR(std::sqrt(squares), expected, 2e-5 * expected) << tensor.name;
        EXPECT_LE(std::sqrt(key_bias_squares), 1e-6 * result.gradient_norm) << tensor.name;
      });
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenTest,
                         testing::Combine(testing::ValuesIn(golden_names()), testing::Values(1, 4)),
                         [](const testing::TestParamInfo<Case>& instance) {
                           return std::get<0>(instance.param) + "_accumulation_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace sluice

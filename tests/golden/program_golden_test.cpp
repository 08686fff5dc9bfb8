// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The same goldens through a planned Program: streamed over three tiers, recomputed,
// on overlapping lanes.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "engine/model/model.h"
#include "engine/run/evaluate.h"
#include "tests/support/golden.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

namespace sluice {
namespace {

// Weights in RAM, gradients and state on disk, activations in RAM, all recomputed.
Placement streamed(const Workload& workload) {
  Placement p = resident_placement(workload, /*deferred=*/true);
  p.weights.assign(p.weights.size(), Tier::kHost);
  p.gradients.assign(p.gradients.size(), Tier::kStorage);
  p.states.assign(p.states.size(), Tier::kStorage);
  p.adam_on_device.assign(p.adam_on_device.size(), false);
  p.activations.assign(p.activations.size(), Tier::kHost);
  p.recompute.assign(p.recompute.size(), true);
  p.segment_elements = 8192;
  p.fetch_ahead = 1;
  return p;
}

using Case = std::tuple<std::string, std::int64_t>;  // golden, accumulation

class ProgramGolden : public testing::TestWithParam<Case> {};

TEST_P(ProgramGolden, TwentyStepsOverThreeTiersEqualPyTorch) {
  const auto& [name, accumulation] = GetParam();
  const Golden golden = load_golden(name);
  const Model model =
      make_model(golden.shape, {.global_batch = golden.global_batch, .length = golden.length});
  const Workload workload = model.workload(golden.global_batch / accumulation);
  const CostModel costs(test_machine(), workload);
  const Program program = build_training(workload, streamed(workload), costs);
  const BatchLayout layout = batch_layout(workload);

  RunOptions options{.steps = static_cast<int>(golden.losses.size())};
  options.clip = static_cast<float>(golden.clip);
  options.initial = [&](int flat, std::int64_t first, std::span<float> out) {
    std::fill(out.begin(), out.end(), 0.0F);
    for (const TensorSpec& t : workload.flats[static_cast<std::size_t>(flat)].tensors) {
      const std::int64_t end = first + static_cast<std::int64_t>(out.size());
      for (std::int64_t i = std::max(first, t.offset); i < std::min(end, t.offset + t.count); ++i) {
        out[static_cast<std::size_t>(i - first)] =
            golden_initial_value(t.name, t.shape.size() == 2, i - t.offset);
      }
    }
  };
  options.fill = [&](std::int64_t step, std::span<std::byte> batch) {
    const GoldenBatch from = golden_batch(golden, step - 1);
    return fill_batch(layout, batch, [&](std::int64_t sequence, auto ids, auto targets) {
      const auto at = static_cast<std::ptrdiff_t>(sequence * golden.length);
      std::copy_n(from.ids.begin() + at, ids.size(), ids.begin());
      std::copy_n(from.targets.begin() + at, targets.size(), targets.begin());
      return std::count_if(targets.begin(), targets.end(), [](std::int32_t t) { return t >= 0; });
    });
  };
  options.rule = [&](std::int64_t) {
    return UpdateRule{.learning_rate = static_cast<float>(golden.lr),
                      .beta1 = static_cast<float>(golden.beta1),
                      .beta2 = static_cast<float>(golden.beta2),
                      .epsilon = static_cast<float>(golden.eps),
                      .weight_decay = static_cast<float>(golden.weight_decay)};
  };
  const RunResult result = run_training(workload, program, model.layers,
                                        static_cast<int>(golden.shape.vocabulary), options);

  ASSERT_EQ(result.losses.size(), golden.losses.size());
  for (std::size_t step = 0; step < golden.losses.size(); ++step) {
    EXPECT_NEAR(result.losses[step], golden.losses[step], 5e-6 * golden.losses[step]) << step;
    EXPECT_NEAR(result.norms[step], golden.gradient_norms[step], 2e-5 * golden.gradient_norms[step])
        << step;
  }
  GoldenWeights weights;
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    for (const TensorSpec& t : workload.flats[f].tensors) {
      const GoldenTensor& expected = golden.tensor(t.name);
      const std::int64_t width = golden.shape.width;
      for (std::int64_t i = 0; i < t.count; ++i) {
        // The gradient of the K bias is noise around 0 (golden_test.cpp).
        if (t.name.ends_with("attn.c_attn.bias") && i >= width && i < 2 * width) continue;
        weights.compare(result.masters[f][static_cast<std::size_t>(t.offset + i)],
                        expected.final[static_cast<std::size_t>(i)]);
      }
    }
  }
  weights.expect_equal();
}

INSTANTIATE_TEST_SUITE_P(Goldens, ProgramGolden,
                         testing::Combine(testing::ValuesIn(golden_names()),
                                          testing::Values(std::int64_t{1}, std::int64_t{4})),
                         [](const auto& instance) {
                           return std::get<0>(instance.param) + "_accumulation_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace sluice

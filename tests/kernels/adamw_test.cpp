// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/adamw_cases.h"
#include "tests/support/adamw_ref.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

constexpr float kRate = 1e-3F;
constexpr float kBeta1 = 0.9F;
constexpr float kBeta2 = 0.95F;
constexpr float kEpsilon = 1e-8F;
constexpr float kDecay = 0.1F;

struct State {
  State(std::int64_t count, AdamWTypes t)
      : types(t),
        gradient(1, count, t.gradient),
        master(1, count),
        first(1, count, t.moments),
        second(1, count, t.moments),
        weight(1, count, t.weight) {
    gradient.randomize(1);
    master.randomize(2);
    for (std::int64_t i = 0; i < count; ++i) {
      first.set(0, i, 0);
      second.set(0, i, 0);
      weight.set(0, i, 0);
    }
  }

  AdamW call(std::int64_t step) {
    return {.count = master.columns(),
            .learning_rate = kRate,
            .beta1 = kBeta1,
            .beta2 = kBeta2,
            .epsilon = kEpsilon,
            .weight_decay = kDecay,
            .step = step,
            .gradient = gradient.data(),
            .gradient_dtype = types.gradient,
            .master = master.floats(),
            .first_moment = first.data(),
            .second_moment = second.data(),
            .moment_dtype = types.moments,
            .weight = weight.data(),
            .weight_dtype = types.weight,
            .norm = &norm};
  }

  bool canaries_intact() const {
    return gradient.canaries_intact() && master.canaries_intact() && first.canaries_intact() &&
           second.canaries_intact() && weight.canaries_intact();
  }

  AdamWTypes types;
  Tensor gradient, master, first, second, weight;
  NormResult norm;
};

using Reference = AdamWRef<double>;

Reference reference_for(double weight) {
  return {.learning_rate = static_cast<double>(kRate),
          .beta1 = static_cast<double>(kBeta1),
          .beta2 = static_cast<double>(kBeta2),
          .epsilon = static_cast<double>(kEpsilon),
          .weight_decay = static_cast<double>(kDecay),
          .weight = weight};
}

TEST(AdamW, MatchesTheReferenceForEveryMixOfTypesAndClipScale) {
  Workers workers(2);
  for (const AdamWTypes& types : adamw_types()) {
    for (const std::int64_t count : adamw_edge_counts()) {
      State state(count, types);
      state.norm.scale = 0.25F;
      std::vector<double> expected;
      for (std::int64_t i = 0; i < count; ++i) {
        Reference r = reference_for(state.master.get(0, i));
        r.update(0.25 * state.gradient.get(0, i), 1);
        expected.push_back(r.weight);
      }
      run_on_host(workers, state.call(1));
      EXPECT_TRUE(close(state.master, expected, 1e-7));
      EXPECT_TRUE(close(state.weight, expected, 1e-7));
      EXPECT_TRUE(state.canaries_intact());
    }
  }
}

// The bound that the project promises for 1,000 steps against float64.
TEST(AdamW, AThousandStepsStayWithTheReference) {
  Workers workers(2);
  constexpr std::int64_t kCount = 10'007;
  State state(kCount, {DType::kFloat32, DType::kFloat32, DType::kFloat32});
  std::vector<Reference> reference;
  for (std::int64_t i = 0; i < kCount; ++i) {
    reference.push_back(reference_for(state.master.get(0, i)));
  }
  for (std::int64_t step = 1; step <= 1000; ++step) {
    state.gradient.randomize(static_cast<unsigned>(step), 0.1);
    for (std::int64_t i = 0; i < kCount; ++i) {
      reference[static_cast<std::size_t>(i)].update(state.gradient.get(0, i), step);
    }
    run_on_host(workers, state.call(step));
  }
  double error = 0;
  double size = 0;
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double w = reference[static_cast<std::size_t>(i)].weight;
    const double difference = std::abs(state.master.get(0, i) - w);
    error += difference * difference;
    size += w * w;
    worst = std::max(worst, difference);
    largest = std::max(largest, std::abs(w));
  }
  EXPECT_LE(std::sqrt(error), 1e-6 * std::sqrt(size));
  EXPECT_LE(worst, 3e-6 * largest);
}

// The weight is rewritten: it may lie in a buffer that held something else.
TEST(AdamW, ChangesNoStateWhereTheNormIsNotFinite) {
  Workers workers(2);
  State state(1000, {DType::kBFloat16, DType::kFloat32, DType::kBFloat16});
  State untouched(1000, state.types);
  state.norm.finite = 0;
  run_on_host(workers, state.call(1));
  EXPECT_EQ(state.master.values(), untouched.master.values());
  EXPECT_EQ(state.first.values(), untouched.first.values());
  EXPECT_EQ(state.second.values(), untouched.second.values());
  std::vector<double> rounded;
  for (const double master : state.master.values()) {
    rounded.push_back(static_cast<double>(to_float(to_bf16(static_cast<float>(master)))));
  }
  EXPECT_EQ(state.weight.values(), rounded);
}

// Vectors of any width and the scalar tail compute the same formula.
TEST(AdamW, GivesTheSameBitsOnEverySimdLevel) {
  Workers workers(1);
  for (const AdamWTypes& types : adamw_types()) {
    std::vector<std::vector<double>> results;
    for (const std::int64_t level : {HWY_SCALAR, HWY_SSE4, HWY_AVX2, HWY_AVX3}) {
      if (level != HWY_SCALAR && (hwy::SupportedTargets() & level) == 0) continue;
      hwy::GetChosenTarget().Update(level);
      State state(1003, types);
      for (std::int64_t step = 1; step <= 3; ++step) run_on_host(workers, state.call(step));
      std::vector<double> all = state.master.values();
      for (const Tensor* t : {&state.first, &state.second, &state.weight}) {
        const auto values = t->values();
        all.insert(all.end(), values.begin(), values.end());
      }
      results.push_back(all);
    }
    hwy::GetChosenTarget().DeInit();
    ASSERT_GE(results.size(), 2U);
    for (const auto& result : results) EXPECT_EQ(result, results.front());
  }
}

TEST(AdamWDeathTest, RefusesStepZero) {
  Workers workers(1);
  State state(1, {DType::kFloat32, DType::kFloat32, DType::kFloat32});
  EXPECT_DEATH(run_on_host(workers, state.call(0)), "step >= 1");
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

// The formula of nanoGPT's train.py with the settings of the tinyshakespeare reference.
double reference_rate(int step) {
  const double lr = 1e-3, least = 1e-4, warmup = 100, decay = 2000;
  if (step < warmup) return lr * (step + 1) / (warmup + 1);
  if (step > decay) return least;
  const double ratio = (step - warmup) / (decay - warmup);
  return least + 0.5 * (1.0 + std::cos(std::numbers::pi * ratio)) * (lr - least);
}

TEST(LearningRate, CosineIsNanoGpts) {
  const LearningRate rate({ScheduleKind::kCosine, 100, 0.1, std::nullopt}, 1e-3, 2000);
  for (int step = 0; step < 2100; ++step) {
    EXPECT_NEAR(rate.at(step), reference_rate(step), 1e-15) << "step " << step;
  }
}

TEST(LearningRate, ConstantStaysAfterItsWarmup) {
  const LearningRate rate({ScheduleKind::kConstant, 4, 0.1, std::nullopt}, 2.0, 0);
  EXPECT_DOUBLE_EQ(rate.at(0), 2.0 / 5);
  EXPECT_DOUBLE_EQ(rate.at(3), 2.0 * 4 / 5);
  EXPECT_DOUBLE_EQ(rate.at(4), 2.0);
  EXPECT_DOUBLE_EQ(rate.at(1'000'000), 2.0);
}

TEST(LearningRate, LinearFallsEvenlyToItsFloor) {
  const LearningRate rate({ScheduleKind::kLinear, 0, 0.5, 10}, 1.0, 100);
  EXPECT_DOUBLE_EQ(rate.at(0), 1.0);
  EXPECT_DOUBLE_EQ(rate.at(5), 0.75);
  EXPECT_DOUBLE_EQ(rate.at(10), 0.5);
  EXPECT_DOUBLE_EQ(rate.at(99), 0.5);
}

TEST(LearningRate, WsdStaysAndFallsAtTheEnd) {
  const LearningRate rate({ScheduleKind::kWsd, 10, 0.0, std::nullopt}, 1.0, 100);
  EXPECT_DOUBLE_EQ(rate.at(10), 1.0);
  EXPECT_DOUBLE_EQ(rate.at(80), 1.0);
  EXPECT_DOUBLE_EQ(rate.at(90), 0.5);
  EXPECT_DOUBLE_EQ(rate.at(100), 0.0);
}

TEST(LearningRate, ADecayWithoutALengthIsRefused) {
  expect_error(ErrorKind::kConfig, {"schedule.kind", "train.steps", "decay_steps"}, [] {
    LearningRate({ScheduleKind::kCosine, 0, 0, std::nullopt}, 1, 0);
  });
  expect_error(ErrorKind::kConfig, {"train.steps"}, [] {
    LearningRate({ScheduleKind::kWsd, 0, 0, 5}, 1, 0);
  });
}

// A warm-up longer than the run, or than the decay, divides nothing by zero.
TEST(LearningRate, IsFiniteWhateverTheWarmup) {
  for (const ScheduleKind kind :
       {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWsd}) {
    for (const int warmup : {0, 5, 10, 20}) {
      const LearningRate rate({kind, warmup, 0.1, std::nullopt}, 1.0, 10);
      for (int step = 0; step < 30; ++step) {
        EXPECT_TRUE(std::isfinite(rate.at(step)));
        EXPECT_LE(rate.at(step), 1.0);
      }
    }
  }
}

}  // namespace
}  // namespace sluice

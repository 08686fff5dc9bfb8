// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/formula.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/activation_math.h"
#include "kernels/digest_math.h"
#include "kernels/random_math.h"
#include "tests/support/activation_ref.h"

namespace sluice {
namespace {

// |actual - expected| in units of the last place of expected.
double ulps(float actual, double expected) {
  const auto nearest = static_cast<float>(expected);
  const float step = std::nextafter(std::abs(nearest), INFINITY) - std::abs(nearest);
  return std::abs(static_cast<double>(actual) - expected) / static_cast<double>(step);
}

TEST(Formula, ExponentialIsWithinTwoUlpsFromUnderflowToOverflow) {
  for (float x = -103.0F; x < 88.7F; x += 0.00137F) {
    ASSERT_LE(ulps(exponential(x), std::exp(static_cast<double>(x))), 2.0) << x;
  }
}

TEST(Formula, ExponentialKeepsInfinitiesAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exponential(kInfinity), kInfinity);
  EXPECT_EQ(exponential(-kInfinity), 0.0F);
  EXPECT_TRUE(std::isnan(exponential(NAN)));
  EXPECT_EQ(exponential(0.0F), 1.0F);
}

TEST(Formula, ErrorFunctionIsWithinThreeUlps) {
  for (float x = -6.0F; x < 6.0F; x += 0.000171F) {
    ASSERT_LE(ulps(error_function(x), std::erf(static_cast<double>(x))), 3.0) << x;
  }
}

TEST(Formula, ActivationsAndDerivativesAreAccurateOnBothSides) {
  for (float x = -12.0F; x < 12.0F; x += 0.0013F) {
    const auto wide = static_cast<double>(x);
    const double allowed = 4e-7 * std::max(1.0, std::abs(wide));
    ASSERT_NEAR(gelu_tanh(x), gelu_tanh_ref(wide), allowed);
    ASSERT_NEAR(gelu_tanh_derivative(x), gelu_tanh_derivative_ref(wide), 2 * allowed);
    ASSERT_NEAR(gelu_erf(x), gelu_erf_ref(wide), allowed);
    ASSERT_NEAR(gelu_erf_derivative(x), gelu_erf_derivative_ref(wide), allowed);
    ASSERT_NEAR(silu(x), silu_ref(wide), allowed);
    ASSERT_NEAR(silu_derivative(x), silu_derivative_ref(wide), allowed);
  }
}

TEST(Formula, ActivationsStayFiniteForHugeInputs) {
  for (const float x : {-1e4F, -200.0F, 200.0F, 1e4F}) {
    EXPECT_NEAR(gelu_tanh(x), x < 0 ? 0.0F : x, 1e-20F);
    EXPECT_NEAR(gelu_tanh_derivative(x), x < 0 ? 0.0F : 1.0F, 1e-20F);
    EXPECT_NEAR(silu(x), x < 0 ? 0.0F : x, 1e-20F);
    EXPECT_NEAR(silu_derivative(x), x < 0 ? 0.0F : 1.0F, 1e-20F);
  }
}

TEST(Formula, ReferenceDerivativesAreThoseOfFiniteDifferences) {
  for (double x = -4.0; x < 4.0; x += 0.1) {
    const double h = 1e-6;
    EXPECT_NEAR((gelu_tanh_ref(x + h) - gelu_tanh_ref(x - h)) / (2 * h),
                gelu_tanh_derivative_ref(x), 1e-8);
    EXPECT_NEAR((gelu_erf_ref(x + h) - gelu_erf_ref(x - h)) / (2 * h), gelu_erf_derivative_ref(x),
                1e-8);
    EXPECT_NEAR((silu_ref(x + h) - silu_ref(x - h)) / (2 * h), silu_derivative_ref(x), 1e-8);
  }
}

TEST(Formula, DigestChangesWithEveryBitPlaceAndSalt) {
  const std::uint64_t original = digest_mix(7, 100, 0x3f800000U);
  for (int bit = 0; bit < 32; ++bit) {
    EXPECT_NE(digest_mix(7, 100, 0x3f800000U ^ (1U << bit)), original) << bit;
  }
  EXPECT_NE(digest_mix(7, 101, 0x3f800000U), original);
  EXPECT_NE(digest_mix(8, 100, 0x3f800000U), original);
}

// The first line of Random123's known-answer file for philox4x32-10.
TEST(Random, PhiloxGivesThePublishedWords) {
  const RandomBits zero = philox(0, 0, 0);
  EXPECT_EQ(zero.word[0], 0x6627e8d5U);
  EXPECT_EQ(zero.word[1], 0xe169c58dU);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cU);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8U);
  const RandomBits ones = philox(~0ULL, ~0ULL, ~0ULL);
  EXPECT_EQ(ones.word[0], 0x408f276dU);
}

TEST(Random, NormalsHaveMeanZeroVarianceOneAndTails) {
  constexpr int kCount = 200000;
  double sum = 0;
  double square = 0;
  double fourth = 0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double x = random_normal(1, 2, i);
    sum += x;
    square += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(square / kCount, 1.0, 0.015);
  EXPECT_NEAR(fourth / kCount, 3.0, 0.1);
}

TEST(Random, StreamsAndSeedsDiffer) {
  EXPECT_NE(random_normal(1, 1, 1), random_normal(1, 2, 1));
  EXPECT_NE(random_normal(1, 1, 1), random_normal(2, 1, 1));
  EXPECT_NE(random_normal(1, 1, 1), random_normal(1, 1, 2));
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// AdamW (Loshchilov, Hutter 2019): decoupled decay, bias corrected.

#include <cmath>
#include <cstdint>

#include "kernels/formula.h"

namespace sluice {

// What all elements of one step share. Bias corrections are computed in double:
// 1 - beta2^t loses half its digits in fp32 for small t.
struct AdamWStep {
  float beta1, beta2;
  float one_minus_beta1, one_minus_beta2;
  float step_size;        // learning_rate / (1 - beta1^t)
  float reciprocal_root;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  float decay;           // learning_rate * weight_decay
  float gradient_scale;  // of clipping
};

struct AdamWHyper {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
};

// Requires step >= 1.
inline AdamWStep prepare_adamw(const AdamWHyper& hyper, std::int64_t step, float gradient_scale) {
  const double beta1 = hyper.beta1;
  const double beta2 = hyper.beta2;
  const double lr = hyper.learning_rate;
  const auto t = static_cast<double>(step);
  return {
      .beta1 = hyper.beta1,
      .beta2 = hyper.beta2,
      .one_minus_beta1 = static_cast<float>(1.0 - beta1),
      .one_minus_beta2 = static_cast<float>(1.0 - beta2),
      .step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, t))),
      .reciprocal_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, t))),
      .epsilon = hyper.epsilon,
      .decay = static_cast<float>(lr * static_cast<double>(hyper.weight_decay)),
      .gradient_scale = gradient_scale,
  };
}

struct AdamWElement {
  float master, first_moment, second_moment;
};

// One element's update. Square root and division are IEEE's, so every SIMD level
// gives the same bits.
SLUICE_FORMULA AdamWElement adamw_element(const AdamWStep& step, float gradient, AdamWElement old) {
  const float g = gradient * step.gradient_scale;
  const float m = fused(step.beta1, old.first_moment, step.one_minus_beta1 * g);
  const float v = fused(step.beta2, old.second_moment, (step.one_minus_beta2 * g) * g);
  const float deviation = fused(square_root(v), step.reciprocal_root, step.epsilon);
  // The change is summed first and meets the weight once. Scaling the weight by a
  // rounded 1 - decay instead is biased: 1.7e-5 off after 1,000 steps, against 7e-7.
  const float change = fused(step.step_size, m / deviation, step.decay * old.master);
  return {old.master - change, m, v};
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cmath>
#include <cstdint>

namespace sluice {

// One parameter under AdamW as its paper has it.
template <typename Real>
struct AdamWRef {
  Real learning_rate, beta1, beta2, epsilon, weight_decay;
  Real weight = 0, first_moment = 0, second_moment = 0;

  void update(Real gradient, std::int64_t step) {
    first_moment = beta1 * first_moment + (1 - beta1) * gradient;
    second_moment = beta2 * second_moment + (1 - beta2) * gradient * gradient;
    const Real m = first_moment / (1 - std::pow(beta1, Real(step)));
    const Real v = second_moment / (1 - std::pow(beta2, Real(step)));
    weight -= learning_rate * (m / (std::sqrt(v) + epsilon) + weight_decay * weight);
  }
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cmath>

namespace sluice {

template <typename Real>
Real gelu_tanh_ref(Real x) {
  const Real u = std::sqrt(Real(2) / Real(M_PI)) * (x + Real(0.044715) * x * x * x);
  return x / 2 * (1 + std::tanh(u));
}

template <typename Real>
Real gelu_tanh_derivative_ref(Real x) {
  const Real root = std::sqrt(Real(2) / Real(M_PI));
  const Real t = std::tanh(root * (x + Real(0.044715) * x * x * x));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * Real(0.044715) * x * x);
}

template <typename Real>
Real gelu_erf_ref(Real x) {
  return x / 2 * (1 + std::erf(x / std::sqrt(Real(2))));
}

template <typename Real>
Real gelu_erf_derivative_ref(Real x) {
  return (1 + std::erf(x / std::sqrt(Real(2)))) / 2 +
         x * std::exp(-x * x / 2) / std::sqrt(2 * Real(M_PI));
}

template <typename Real>
Real silu_ref(Real x) {
  return x / (1 + std::exp(-x));
}

template <typename Real>
Real silu_derivative_ref(Real x) {
  const Real s = 1 / (1 + std::exp(-x));
  return s + x * s * (1 - s);
}

}  // namespace sluice

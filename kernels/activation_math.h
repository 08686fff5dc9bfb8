// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// GELU (Hendrycks, Gimpel 2016) in both forms, and SiLU for SwiGLU (Shazeer 2020),
// with their derivatives.

#include "kernels/formula.h"

namespace sluice {

// What sigmoid and its derivative are made of: e = exp(-z), s = 1 / (1 + e). The
// exponent is capped so that e * s stays a number; s(1 - s) = (e * s) * s then
// loses no digits on either side.
struct Sigmoid {
  float value;
  float slope;
};
SLUICE_FORMULA Sigmoid sigmoid(float z) {
  const float minus = -z > 80.0F ? 80.0F : -z;
  const float e = exponential(minus);
  const float s = 1.0F / (1.0F + e);
  return {s, (e * s) * s};
}

// gelu(x) = x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3), which is x sigmoid(2u).
SLUICE_FORMULA float gelu_tanh(float x) {
  constexpr float kTwiceRoot = 1.5957691216057308F;  // 2 sqrt(2/pi)
  const float z = (kTwiceRoot * x) * fused(0.044715F * x, x, 1.0F);
  return x * sigmoid(z).value;
}

SLUICE_FORMULA float gelu_tanh_derivative(float x) {
  constexpr float kTwiceRoot = 1.5957691216057308F;
  const float z = (kTwiceRoot * x) * fused(0.044715F * x, x, 1.0F);
  const float dz = kTwiceRoot * fused(3.0F * 0.044715F * x, x, 1.0F);
  const Sigmoid s = sigmoid(z);
  return fused(x * s.slope, dz, s.value);
}

// gelu(x) = x Phi(x), Phi the normal distribution.
SLUICE_FORMULA float gelu_erf(float x) {
  return (0.5F * x) * (1.0F + error_function(0.70710678118654752F * x));
}

SLUICE_FORMULA float gelu_erf_derivative(float x) {
  constexpr float kDensity = 0.3989422804014327F;  // 1 / sqrt(2 pi)
  const float phi = 0.5F * (1.0F + error_function(0.70710678118654752F * x));
  return fused(x * kDensity, exponential(-0.5F * x * x), phi);
}

SLUICE_FORMULA float silu(float x) { return x * sigmoid(x).value; }

SLUICE_FORMULA float silu_derivative(float x) {
  const Sigmoid s = sigmoid(x);
  return fused(x, s.slope, s.value);
}

}  // namespace sluice

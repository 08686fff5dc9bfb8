// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// LayerNorm (Ba, Kiros, Hinton 2016) and RMSNorm (Zhang, Sennrich 2019), one element
// at a time. RMSNorm is the case mean = 0, mean_gradient = 0, shift = 0.

#include "kernels/formula.h"

namespace sluice {

SLUICE_FORMULA float reciprocal_deviation(float mean_square, float epsilon) {
  return 1.0F / square_root(mean_square + epsilon);
}

// (x - mean) / deviation
SLUICE_FORMULA float normalized(float x, float mean, float reciprocal) {
  return (x - mean) * reciprocal;
}

SLUICE_FORMULA float norm_output(float xhat, float scale, float shift) {
  return fused(xhat, scale, shift);
}

// d(loss)/dx, where g = dy * scale, mean_gradient is the row's mean of g and
// mean_projection that of g * xhat.
SLUICE_FORMULA float norm_input_gradient(float g, float xhat, float reciprocal, float mean_gradient,
                                         float mean_projection) {
  return reciprocal * (fused(-xhat, mean_projection, g) - mean_gradient);
}

}  // namespace sluice

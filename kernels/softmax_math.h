// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The pieces of softmax, cross-entropy and attention.

#include <cmath>

#include "kernels/formula.h"

namespace sluice {

// exp(x - shift), where shift is the maximum (so far) or the logarithm of the sum.
SLUICE_FORMULA float softmax_term(float x, float shift) { return exponential(x - shift); }

// log(sum of exp(x)) of a row, given its maximum and the sum of exp(x - maximum).
SLUICE_HOST_DEVICE inline float log_of_sum(float maximum, float sum) {
  return maximum + std::log(sum);
}

// d(loss)/d(logit) of -log softmax[target], times scale.
SLUICE_FORMULA float cross_entropy_gradient(float probability, bool is_target, float scale) {
  return (probability - (is_target ? 1.0F : 0.0F)) * scale;
}

// d(loss)/d(score) of attention: probability p, dp = dout . v, delta = dout . out.
SLUICE_FORMULA float attention_score_gradient(float p, float dp, float delta, float scale) {
  return p * (dp - delta) * scale;
}

}  // namespace sluice

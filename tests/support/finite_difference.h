// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace sluice {

// The largest difference between `gradient` and central differences of `loss` in
// every element of *x, relative to the gradient's largest element.
template <typename Loss>
double gradient_error(std::vector<double>* x, const std::vector<double>& gradient,
                      const Loss& loss) {
  constexpr double kStep = 1e-5;
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < x->size(); ++i) {
    const double kept = (*x)[i];
    (*x)[i] = kept + kStep;
    const double above = loss();
    (*x)[i] = kept - kStep;
    const double below = loss();
    (*x)[i] = kept;
    worst = std::max(worst, std::abs((above - below) / (2 * kStep) - gradient[i]));
    largest = std::max(largest, std::abs(gradient[i]));
  }
  return worst / std::max(largest, 1e-30);
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace sluice

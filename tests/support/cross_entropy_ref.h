// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

template <typename Real>
struct CrossEntropyRef {
  std::size_t rows, vocabulary;
  std::vector<Real> logits;
  std::vector<std::int32_t> targets;

  Real log_sum(std::size_t row) const {
    Real maximum = -INFINITY;
    for (std::size_t i = 0; i < vocabulary; ++i) {
      maximum = std::max(maximum, logits[row * vocabulary + i]);
    }
    Real sum = 0;
    for (std::size_t i = 0; i < vocabulary; ++i) {
      sum += std::exp(logits[row * vocabulary + i] - maximum);
    }
    return maximum + std::log(sum);
  }

  std::vector<Real> loss() const {
    std::vector<Real> all(rows);
    for (std::size_t row = 0; row < rows; ++row) {
      if (targets[row] < 0) continue;
      all[row] = log_sum(row) - logits[row * vocabulary + static_cast<std::size_t>(targets[row])];
    }
    return all;
  }

  std::vector<Real> gradient(Real scale) const {
    std::vector<Real> all(rows * vocabulary);
    for (std::size_t row = 0; row < rows; ++row) {
      if (targets[row] < 0) continue;
      const Real log = log_sum(row);
      for (std::size_t i = 0; i < vocabulary; ++i) {
        const Real p = std::exp(logits[row * vocabulary + i] - log);
        const bool hit = static_cast<std::size_t>(targets[row]) == i;
        all[row * vocabulary + i] = (p - (hit ? 1 : 0)) * scale;
      }
    }
    return all;
  }
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace sluice {

// LayerNorm or RMSNorm over rows of n, x[rows, n].
template <typename Real>
struct NormRef {
  std::size_t rows, n;
  bool layer_norm;
  Real epsilon;
  std::vector<Real> x, scale, shift;  // shift empty: none

  struct Statistics {
    Real mean, reciprocal;
  };
  Statistics statistics(std::size_t row) const {
    Real mean = 0;
    for (std::size_t i = 0; layer_norm && i < n; ++i) mean += x[row * n + i] / Real(n);
    Real square = 0;
    for (std::size_t i = 0; i < n; ++i) {
      square += (x[row * n + i] - mean) * (x[row * n + i] - mean) / Real(n);
    }
    return {mean, 1 / std::sqrt(square + epsilon)};
  }

  std::vector<Real> forward() const {
    std::vector<Real> y(rows * n);
    for (std::size_t i = 0; i < rows * n; ++i) {
      const Statistics s = statistics(i / n);
      y[i] = (x[i] - s.mean) * s.reciprocal * scale[i % n] + (shift.empty() ? 0 : shift[i % n]);
    }
    return y;
  }

  struct Backward {
    std::vector<Real> dx, dscale, dshift;
  };
  Backward backward(const std::vector<Real>& dy) const {
    Backward b{std::vector<Real>(rows * n), std::vector<Real>(n), std::vector<Real>(n)};
    for (std::size_t row = 0; row < rows; ++row) {
      const Statistics s = statistics(row);
      Real mean_gradient = 0;
      Real mean_projection = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const Real xhat = (x[row * n + i] - s.mean) * s.reciprocal;
        const Real g = dy[row * n + i] * scale[i];
        if (layer_norm) mean_gradient += g / Real(n);
        mean_projection += g * xhat / Real(n);
        b.dscale[i] += dy[row * n + i] * xhat;
        b.dshift[i] += dy[row * n + i];
      }
      for (std::size_t i = 0; i < n; ++i) {
        const Real xhat = (x[row * n + i] - s.mean) * s.reciprocal;
        b.dx[row * n + i] =
            s.reciprocal * (dy[row * n + i] * scale[i] - mean_gradient - xhat * mean_projection);
      }
    }
    return b;
  }
};

}  // namespace sluice

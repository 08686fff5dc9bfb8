// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cstddef>
#include <vector>

namespace sluice {

// c[m,n] = start[m,n] + a[m,k] * b[k,n], dense and row-major.
template <typename Real>
std::vector<Real> matmul_ref(std::size_t m, std::size_t n, std::size_t k,
                             const std::vector<Real>& a, const std::vector<Real>& b,
                             std::vector<Real> start) {
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t p = 0; p < k; ++p) {
      for (std::size_t j = 0; j < n; ++j) start[i * n + j] += a[i * k + p] * b[p * n + j];
    }
  }
  return start;
}

// [rows, columns] -> [columns, rows]
template <typename Real>
std::vector<Real> transposed_ref(std::size_t rows, std::size_t columns,
                                 const std::vector<Real>& x) {
  std::vector<Real> y(x.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) y[j * rows + i] = x[i * columns + j];
  }
  return y;
}

}  // namespace sluice

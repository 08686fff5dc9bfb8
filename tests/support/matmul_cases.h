// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Shapes of matrix multiplication: for the parity test small and awkward, for the
// benchmark those of training.

#include <cstdint>
#include <vector>

namespace sluice {

struct MatmulCase {
  std::int64_t m, n, k;
  bool a_transposed = false, b_transposed = false;
  bool bias = false, accumulate = false;
  std::int64_t padding = 0;  // of every row
};

inline std::vector<MatmulCase> matmul_edge_cases() {
  return {{0, 5, 3},
          {5, 0, 3},
          {3, 5, 0},
          {3, 5, 0, false, false, true, true, 1},
          {1, 1, 1},
          {1, 17, 1, false, true},
          {7, 1, 300, true, false, true},
          {6, 16, 256, false, false, false, true},
          {13, 33, 257, true, true, true, true, 3},
          {49, 72, 72, false, false, true, false, 2},
          {72, 216, 49, true, false, false, true},
          {72, 257, 49, false, true, true, true, 5},
          {200, 300, 64, false, false, true},
          {200, 300, 64, false, true, false, true, 7},
          {193, 257, 513, true, false, false, false, 1},
          {64, 24, 1000, true, true, false, true}};
}

inline std::vector<MatmulCase> matmul_training_cases() {
  return {{256, 256, 256, false, true},
          {256, 688, 256, false, true},
          {256, 256, 688},
          {688, 256, 256, true, false, false, true},
          {768, 128, 128, false, false, true},
          {768, 512, 128, false, false, true},
          {1024, 768, 768, false, false, true},
          {1024, 3072, 768, false, false, true},
          {1024, 768, 3072, false, true},
          {768, 3072, 1024, true, false, false, true},
          {768, 768, 4096, true, false, false, true},
          {128, 128, 4096, true, false, false, true},
          {72, 72, 196, true, false, false, true},
          {4096, 768, 768, false, true}};
}

}  // namespace sluice

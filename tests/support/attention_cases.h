// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <vector>

#include "tests/support/attention_ref.h"

namespace sluice {

inline std::vector<AttentionShape> attention_edge_cases() {
  return {{0, 8, 2, 2, 8},   {1, 1, 1, 1, 1},   {1, 3, 2, 1, 5},    {2, 49, 3, 3, 24},
          {1, 64, 4, 2, 32}, {2, 65, 4, 4, 16}, {1, 130, 6, 2, 64}, {1, 200, 2, 1, 33}};
}

inline std::vector<AttentionShape> attention_training_cases() {
  return {{12, 64, 4, 4, 32}, {12, 256, 8, 8, 32}, {4, 256, 12, 12, 64}, {2, 1024, 12, 4, 64}};
}

}  // namespace sluice

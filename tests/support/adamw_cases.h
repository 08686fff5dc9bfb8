// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cstdint>
#include <vector>

#include "devices/base/dtype.h"

namespace sluice {

struct AdamWTypes {
  DType gradient, moments, weight;
};

inline std::vector<AdamWTypes> adamw_types() {
  std::vector<AdamWTypes> all;
  for (const DType g : {DType::kFloat32, DType::kBFloat16}) {
    for (const DType m : {DType::kFloat32, DType::kBFloat16}) {
      for (const DType w : {DType::kFloat32, DType::kBFloat16}) all.push_back({g, m, w});
    }
  }
  return all;
}

inline std::vector<std::int64_t> adamw_edge_counts() { return {0, 1, 7, 16, 33, 1000, 32769}; }

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The goldens of tests/golden: small models trained for 20 steps in float64 by
// make_goldens.py, which says what the files hold.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/model_shape.h"

namespace sluice {

struct GoldenTensor {
  std::string name;
  std::int64_t count = 0;
  double first_gradient_norm = 0;  // of the first step, before clipping
  std::vector<float> final;        // after the last step
};

struct Golden {
  ModelShape shape;
  std::int64_t global_batch = 0, length = 0;
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0, clip = 0;

  std::vector<double> losses;          // mean over unmasked targets, one per step
  std::vector<double> gradient_norms;  // before clipping
  std::vector<GoldenTensor> tensors;

  const GoldenTensor& tensor(const std::string& name) const;
};

// The final weights of a model against those of a golden: within 1e-4, but for kFewWeights of
// them, where a gradient is nearly 0 and Adam's step is not: there PyTorch's own float32 run
// is up to 8e-4 away from its float64 run.
class GoldenWeights {
 public:
  void compare(double weight, double expected);
  void expect_equal() const;  // as a test

 private:
  static constexpr int kFewWeights = 1;  // of 90,000 to 140,000
  int apart_ = 0;
  double worst_ = 0;
};

// tests/golden/NAME.json and .bin.
Golden load_golden(const std::string& name);

// Every golden there is: a family, tied or not, clipped or not.
std::vector<std::string> golden_names();

// Element `index` of a tensor before the first step. `matrix`: it has two dimensions.
float golden_initial_value(const std::string& tensor, bool matrix, std::int64_t index);

struct GoldenBatch {
  std::vector<std::int32_t> ids, targets;  // [global_batch * length]; -1 is masked
  std::int64_t unmasked = 0;
};
GoldenBatch golden_batch(const Golden& golden, std::int64_t step);

}  // namespace sluice

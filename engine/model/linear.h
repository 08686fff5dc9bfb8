// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// y = x W (+ bias), the only place where a model multiplies matrices.

#include <cstdint>
#include <vector>

#include "engine/model/buffers.h"

namespace sluice {

// One matrix. GPT-2 stores it [in, out], Llama [out, in].
struct Linear {
  std::int64_t in = 0, out = 0;
  bool stored_out_in = false;
  TensorRef weight{};
  TensorRef bias{};  // may not exist
  DType dtype = DType::kFloat32;

  // y[rows, out] = x[rows, in] W + bias.
  void forward(const LayerCall& call, std::int64_t rows, ConstRows x, Rows y) const;

  // Gradients of weight and bias, given dy[rows, out]. `accumulate` adds to them.
  void backward_parameters(const LayerCall& call, std::int64_t rows, ConstRows x, ConstRows dy,
                           bool accumulate) const;

  // dx[rows, in] (+)= dy W^T.
  void backward_input(const LayerCall& call, std::int64_t rows, ConstRows dy, Rows dx,
                      bool add = false) const;

  void add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const;
};

// Several matrices of one input whose outputs lie side by side: q, k, v and gate,
// up. Neighbours in memory are multiplied as one matrix.
class Projection {
 public:
  Projection() = default;
  // `parts` share in, dtype and layout. They are merged where weights, and biases
  // if there are any, follow each other without padding.
  explicit Projection(std::vector<Linear> parts);

  std::int64_t out() const { return out_; }
  const std::vector<Linear>& parts() const { return parts_; }

  void forward(const LayerCall& call, std::int64_t rows, ConstRows x, Rows y) const;
  // Parameter gradients (call.accumulate holds for them) and dx.
  void backward(const LayerCall& call, std::int64_t rows, ConstRows x, ConstRows dy, Rows dx) const;
  void add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const;

 private:
  std::vector<Linear> parts_;
  std::int64_t out_ = 0;
};

}  // namespace sluice

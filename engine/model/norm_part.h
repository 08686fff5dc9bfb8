// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The normalisation before attention, feed-forward part and head: LayerNorm or RMSNorm.

#include <cstdint>

#include "engine/model/buffers.h"

namespace sluice {

struct NormPart {
  std::int64_t width = 0;
  bool layer_norm = true;
  float epsilon = 0;
  TensorRef scale{};
  TensorRef shift{};  // may not exist
  DType dtype = DType::kFloat32;

  // What backward needs of forward, beside x and y.
  struct Statistics {
    float* mean = nullptr;        // [rows]
    float* reciprocal = nullptr;  // [rows]
  };
  // Both lie behind each other in one piece of this many floats.
  static std::int64_t statistics_count(std::int64_t rows) { return 2 * rows; }
  static Statistics statistics_in(float* piece, std::int64_t rows) { return {piece, piece + rows}; }

  void forward(const LayerCall& call, std::int64_t rows, const std::byte* x, std::byte* y,
               Statistics statistics) const;
  // Of x + residual, which takes the place of x.
  void forward_of_sum(const LayerCall& call, std::int64_t rows, const std::byte* residual,
                      std::byte* x, std::byte* y, Statistics statistics) const;

  struct Backward {
    const std::byte* dy = nullptr;
    const std::byte* x = nullptr;
    const std::byte* residual = nullptr;  // added to dx where not null
    std::byte* dx = nullptr;
    Statistics statistics{};
    float* scratch = nullptr;  // norm_backward_scratch(rows, width)
    bool accumulate = false;   // parameter gradients
  };
  void backward(const LayerCall& call, std::int64_t rows, const Backward& pass) const;

  void add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const;

 private:
  Norm arguments(const LayerCall& call, std::int64_t rows, const std::byte* x, std::byte* y,
                 Statistics statistics) const;
};

}  // namespace sluice

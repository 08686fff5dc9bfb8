// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/norm_part.h"

namespace sluice {

Norm NormPart::arguments(const LayerCall& call, std::int64_t rows, const std::byte* x, std::byte* y,
                         Statistics statistics) const {
  return {.rows = rows,
          .n = width,
          .layer_norm = layer_norm,
          .epsilon = epsilon,
          .x = x,
          .scale = weight_of(call, dtype, scale),
          .shift = weight_of(call, dtype, shift),
          .y = y,
          .mean = layer_norm ? statistics.mean : nullptr,
          .reciprocal = statistics.reciprocal,
          .dtype = dtype};
}

void NormPart::forward(const LayerCall& call, std::int64_t rows, const std::byte* x, std::byte* y,
                       Statistics statistics) const {
  call.kernels.norm(call.queue, arguments(call, rows, x, y, statistics));
}

void NormPart::forward_of_sum(const LayerCall& call, std::int64_t rows, const std::byte* residual,
                              std::byte* x, std::byte* y, Statistics statistics) const {
  Norm norm = arguments(call, rows, x, y, statistics);
  norm.residual = residual;
  norm.sum = x;
  call.kernels.norm(call.queue, norm);
}

void NormPart::backward(const LayerCall& call, std::int64_t rows, const Backward& pass) const {
  call.kernels.norm_backward(call.queue, {.rows = rows,
                                          .n = width,
                                          .layer_norm = layer_norm,
                                          .dy = pass.dy,
                                          .x = pass.x,
                                          .scale = weight_of(call, dtype, scale),
                                          .mean = layer_norm ? pass.statistics.mean : nullptr,
                                          .reciprocal = pass.statistics.reciprocal,
                                          .residual = pass.residual,
                                          .dx = pass.dx,
                                          .scale_gradient = gradient_of(call, scale),
                                          .shift_gradient = gradient_of(call, shift),
                                          .scratch = pass.scratch,
                                          .dtype = dtype,
                                          .accumulate = pass.accumulate});
}

void NormPart::add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const {
  const Bytes matrix = bytes_of(dtype, rows * width);
  forward.elementwise += matrix * 2;   // x, y
  backward.elementwise += matrix * 4;  // dy, x, residual, dx
  forward.launches += 1;
  backward.launches += 1;
}

}  // namespace sluice

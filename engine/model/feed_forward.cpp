// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/feed_forward.h"

namespace sluice {

void FeedForward::activate(const LayerCall& call, std::int64_t rows, const std::byte* inner,
                           std::byte* hidden) const {
  if (gated()) {
    call.kernels.swiglu(
        call.queue,
        {.rows = rows, .width = shape.ffn_width, .gate_up = inner, .y = hidden, .dtype = dtype});
  } else {
    call.kernels.gelu(call.queue, {.count = rows * shape.ffn_width,
                                   .form = shape.gelu,
                                   .x = inner,
                                   .y = hidden,
                                   .dtype = dtype});
  }
}

void FeedForward::forward(const LayerCall& call, std::int64_t rows, const std::byte* x,
                          std::byte* inner, std::byte* hidden, std::byte* y) const {
  up.forward(call, rows, {x, shape.width}, {inner, inner_width()});
  if (y == nullptr) return;  // recomputing: only what is kept
  activate(call, rows, inner, hidden);
  down.forward(call, rows, {hidden, shape.ffn_width}, {y, shape.width});
}

void FeedForward::backward(const LayerCall& call, std::int64_t rows, const Backward& pass) const {
  const ConstRows dy{pass.dy, shape.width};
  const Rows hidden{pass.hidden, shape.ffn_width};
  activate(call, rows, pass.inner, hidden.data);
  down.backward_parameters(call, rows, hidden, dy, call.accumulate);
  down.backward_input(call, rows, dy, hidden);  // hidden is now its own gradient

  std::byte* dinner = gated() ? pass.dinner : pass.hidden;
  if (gated()) {
    call.kernels.swiglu_backward(call.queue, {.rows = rows,
                                              .width = shape.ffn_width,
                                              .gate_up = pass.inner,
                                              .dy = hidden.data,
                                              .dgate_up = dinner,
                                              .dtype = dtype});
  } else {
    call.kernels.gelu_backward(call.queue, {.count = rows * shape.ffn_width,
                                            .form = shape.gelu,
                                            .x = pass.inner,
                                            .dy = hidden.data,
                                            .dx = dinner,
                                            .dtype = dtype});
  }
  up.backward(call, rows, {pass.x, shape.width}, {dinner, inner_width()}, {pass.dx, shape.width});
}

void FeedForward::add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const {
  up.add_cost(rows, forward, backward);
  down.add_cost(rows, forward, backward);
  const Bytes inner = bytes_of(dtype, rows * inner_width());
  const Bytes hidden = bytes_of(dtype, rows * shape.ffn_width);
  forward.elementwise += inner + hidden;
  backward.elementwise += inner * 3 + hidden * 2;  // activation again, then its gradient
  forward.launches += 1;
  backward.launches += 2;
}

}  // namespace sluice

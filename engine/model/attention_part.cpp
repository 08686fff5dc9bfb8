// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/attention_part.h"

#include <cmath>

namespace sluice {

Attention AttentionPart::arguments(std::int64_t sequences, std::int64_t length,
                                   const Kept& kept) const {
  const std::int64_t element = size_of(dtype);
  // Without operands only shapes are asked for.
  const auto behind = [&](const std::byte* base, std::int64_t elements) {
    return base == nullptr ? nullptr : base + element * elements;
  };
  const std::byte* k = behind(kept.qkv, shape.query_width());
  return {.sequences = sequences,
          .length = length,
          .heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_width = shape.head_width,
          .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_width)),
          .q = kept.qkv,
          .k = k,
          .v = behind(k, shape.kv_width()),
          .q_stride = shape.qkv_width(),
          .k_stride = shape.qkv_width(),
          .v_stride = shape.qkv_width(),
          .out = kept.attended,
          .out_stride = shape.query_width(),
          .log_sum = kept.log_sum,
          .dtype = dtype};
}

// Query and key heads lie side by side: one call turns both.
void AttentionPart::rotate(const LayerCall& call, std::byte* qkv_rows, bool inverse) const {
  if (shape.family != Family::kLlama) return;
  call.kernels.rope(call.queue, {.tokens = call.batch.sequences * call.batch.length,
                                 .length = call.batch.length,
                                 .heads = shape.heads + shape.kv_heads,
                                 .head_width = shape.head_width,
                                 .x = qkv_rows,
                                 .stride = shape.qkv_width(),
                                 .theta = shape.rope_theta,
                                 .scaling = shape.rope_scaling,
                                 .inverse = inverse,
                                 .dtype = dtype});
}

void AttentionPart::forward(const LayerCall& call, const std::byte* x, const Kept& kept,
                            std::byte* y) const {
  const std::int64_t tokens = call.batch.sequences * call.batch.length;
  qkv.forward(call, tokens, {x, shape.width}, {kept.qkv, shape.qkv_width()});
  rotate(call, kept.qkv, /*inverse=*/false);
  call.kernels.attention(call.queue, arguments(call.batch.sequences, call.batch.length, kept));
  output.forward(call, tokens, {kept.attended, shape.query_width()}, {y, shape.width});
}

void AttentionPart::backward(const LayerCall& call, const Kept& kept, const Backward& pass) const {
  const std::int64_t tokens = call.batch.sequences * call.batch.length;
  const ConstRows dy{pass.dy, shape.width};
  const Rows dattended{pass.dattended, shape.query_width()};
  output.backward_parameters(call, tokens, {kept.attended, shape.query_width()}, dy,
                             call.accumulate);
  output.backward_input(call, tokens, dy, dattended);

  std::byte* dk = pass.dqkv + size_of(dtype) * shape.query_width();
  call.kernels.attention_backward(
      call.queue, {.forward = arguments(call.batch.sequences, call.batch.length, kept),
                   .dout = dattended.data,
                   .dout_stride = dattended.stride,
                   .dq = pass.dqkv,
                   .dk = dk,
                   .dv = dk + size_of(dtype) * shape.kv_width(),
                   .dq_stride = shape.qkv_width(),
                   .dk_stride = shape.qkv_width(),
                   .dv_stride = shape.qkv_width(),
                   .scratch = pass.scratch});
  rotate(call, pass.dqkv, /*inverse=*/true);
  qkv.backward(call, tokens, {pass.x, shape.width}, {pass.dqkv, shape.qkv_width()},
               {pass.dx, shape.width});
}

std::int64_t AttentionPart::scratch_count(std::int64_t sequences, std::int64_t length) const {
  return attention_backward_scratch(arguments(sequences, length, {}));
}

void AttentionPart::add_cost(std::int64_t sequences, std::int64_t length, PassCost& forward,
                             PassCost& backward) const {
  const std::int64_t tokens = sequences * length;
  qkv.add_cost(tokens, forward, backward);
  output.add_cost(tokens, forward, backward);

  // Two products of S x S x query_width per sequence, half of each masked; twice
  // that in backward. Scores computed again there are not counted (model FLOPs).
  const double flops = 2.0 * static_cast<double>(tokens) * static_cast<double>(length) *
                       static_cast<double>(shape.query_width());
  forward.attention_flops += flops;
  backward.attention_flops += 2.0 * flops;

  const Bytes rows = bytes_of(dtype, tokens * shape.qkv_width());
  const Bytes heads = bytes_of(dtype, tokens * shape.query_width());
  forward.elementwise += rows + heads;
  backward.elementwise += rows * 2 + heads * 2;
  forward.launches += 1;
  backward.launches += 1;
  if (shape.family == Family::kLlama) {
    forward.elementwise += rows * 2;
    backward.elementwise += rows * 2;
    forward.launches += 1;
    backward.launches += 1;
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice {

// T tokens of width C, F feed-forward, Q = query width, A = qkv width.
struct Block::Buffers {
  // saved
  std::int64_t norm1 = 0, statistics1 = 0;  // [T,C]
  std::int64_t qkv = 0;                     // [T,A], rotated
  std::int64_t attended = 0, log_sum = 0;   // [T,Q]
  std::int64_t middle = 0;                  // [T,C]
  std::int64_t norm2 = 0, statistics2 = 0;  // [T,C]
  std::int64_t inner = 0;                   // [T, F or 2F], before the activation
  Bytes saved;

  // forward workspace
  std::int64_t activation = 0;  // [T,F]
  Bytes forward_workspace;

  // backward workspace
  std::int64_t dmiddle = 0, dnorm = 0, norm_scratch = 0;        // [T,C]
  std::int64_t hidden = 0, dinner = 0;                          // feed-forward
  std::int64_t dattended = 0, dqkv = 0, attention_scratch = 0;  // attention
  Bytes backward_workspace;
};

Block::Block(std::string name, const LayerTensors& tensors, const std::vector<FlatParameter>& all,
             const ModelShape& shape, DType dtype, BlockParts parts)
    : ModelLayer(std::move(name), tensors, all),
      shape_(shape),
      dtype_(dtype),
      parts_(std::move(parts)) {}

std::unique_ptr<Block> Block::make(const ModelShape& shape, DType dtype,
                                   std::vector<FlatParameter>& all, std::int64_t index) {
  std::string name = fmt::format("block {}", index);
  LayerTensors tensors(all, name);
  BlockParts parts = shape.family == Family::kGpt2
                         ? gpt2_block_parts(shape, dtype, index, tensors)
                         : llama_block_parts(shape, dtype, index, tensors);
  return std::unique_ptr<Block>(
      new Block(std::move(name), tensors, all, shape, dtype, std::move(parts)));
}

Block::Buffers Block::buffers(std::int64_t sequences, std::int64_t length) const {
  const std::int64_t tokens = sequences * length;
  const std::int64_t matrix = tokens * shape_.width;
  const std::int64_t statistics = NormPart::statistics_count(tokens);
  Buffers at;

  Layout saved;
  at.norm1 = saved.take(dtype_, matrix);
  at.statistics1 = saved.take_floats(statistics);
  at.qkv = saved.take(dtype_, tokens * shape_.qkv_width());
  at.attended = saved.take(dtype_, tokens * shape_.query_width());
  at.log_sum = saved.take_floats(tokens * shape_.heads);
  at.middle = saved.take(dtype_, matrix);
  at.norm2 = saved.take(dtype_, matrix);
  at.statistics2 = saved.take_floats(statistics);
  at.inner = saved.take(dtype_, tokens * parts_.ffn.inner_width());
  at.saved = saved.size();

  Layout forward;
  at.activation = forward.take(dtype_, tokens * shape_.ffn_width);
  at.forward_workspace = forward.size();

  Layout backward;
  at.dmiddle = backward.take(dtype_, matrix);
  at.dnorm = backward.take(dtype_, matrix);
  at.norm_scratch = backward.take_floats(norm_backward_scratch(tokens, shape_.width));
  const std::int64_t shared = backward.end();
  at.hidden = backward.take(dtype_, tokens * shape_.ffn_width);
  if (parts_.ffn.gated()) {
    at.dinner = backward.take(dtype_, tokens * parts_.ffn.inner_width());
  }
  backward.rewind(shared);  // the feed-forward part is done when attention begins
  at.dattended = backward.take(dtype_, tokens * shape_.query_width());
  at.dqkv = backward.take(dtype_, tokens * shape_.qkv_width());
  at.attention_scratch = backward.take_floats(parts_.attention.scratch_count(sequences, length));
  at.backward_workspace = backward.size();
  return at;
}

LayerSpec Block::spec(std::int64_t sequences, std::int64_t length) const {
  const std::int64_t tokens = sequences * length;
  const Buffers at = buffers(sequences, length);
  LayerSpec spec = named_spec();
  spec.input = spec.output = bytes_of(dtype_, tokens * shape_.width);
  spec.saved = at.saved;
  spec.forward_workspace = at.forward_workspace;
  spec.backward_workspace = at.backward_workspace;

  spec.forward.launches = 1;  // two residual additions, one of them in a norm: residual, sum
  spec.forward.elementwise = spec.input * (3 + 2);
  spec.backward.launches = 0;
  parts_.attention_norm.add_cost(tokens, spec.forward, spec.backward);
  parts_.attention.add_cost(sequences, length, spec.forward, spec.backward);
  parts_.ffn_norm.add_cost(tokens, spec.forward, spec.backward);
  // Recomputing ends where nothing more is kept: before the activation.
  spec.recompute = spec.forward;
  spec.recompute->launches -= 1;
  spec.recompute->elementwise = spec.recompute->elementwise - spec.input * 3;
  PassCost counted_already;
  parts_.ffn.up.add_cost(tokens, *spec.recompute, counted_already);
  parts_.ffn.add_cost(tokens, spec.forward, spec.backward);
  return spec;
}

AttentionPart::Kept Block::kept(const LayerCall& call, const Buffers& at) const {
  return {.qkv = call.saved + at.qkv,
          .attended = call.saved + at.attended,
          .log_sum = floats(call.saved, at.log_sum)};
}

void Block::forward(const LayerCall& call) const {
  const std::int64_t tokens = call.batch.sequences * call.batch.length;
  const Buffers at = buffers(call.batch.sequences, call.batch.length);
  std::byte* const saved = call.saved;
  std::byte* const middle = saved + at.middle;
  parts_.attention_norm.forward(call, tokens, call.input, saved + at.norm1,
                                NormPart::statistics_in(floats(saved, at.statistics1), tokens));
  parts_.attention.forward(call, saved + at.norm1, kept(call, at), middle);
  parts_.ffn_norm.forward_of_sum(call, tokens, call.input, middle, saved + at.norm2,
                                 NormPart::statistics_in(floats(saved, at.statistics2), tokens));
  parts_.ffn.forward(call, tokens, saved + at.norm2, saved + at.inner,
                     call.workspace + at.activation, call.output);
  if (call.output == nullptr) return;  // recomputing
  call.kernels.add(call.queue, {.count = tokens * shape_.width,
                                .a = middle,
                                .b = call.output,
                                .y = call.output,
                                .dtype = dtype_});
}

void Block::backward(const LayerCall& call) const {
  const Buffers at = buffers(call.batch.sequences, call.batch.length);
  clear_gaps(call);
  backward_ffn(call, at);
  backward_attention(call, at);
}

// output_gradient -> dmiddle
void Block::backward_ffn(const LayerCall& call, const Buffers& at) const {
  const std::int64_t tokens = call.batch.sequences * call.batch.length;
  std::byte* const work = call.workspace;
  parts_.ffn.backward(call, tokens,
                      {.x = call.saved + at.norm2,
                       .inner = call.saved + at.inner,
                       .dy = call.output_gradient,
                       .dx = work + at.dnorm,
                       .hidden = work + at.hidden,
                       .dinner = work + at.dinner});
  parts_.ffn_norm.backward(
      call, tokens,
      {.dy = work + at.dnorm,
       .x = call.saved + at.middle,
       .residual = call.output_gradient,
       .dx = work + at.dmiddle,
       .statistics = NormPart::statistics_in(floats(call.saved, at.statistics2), tokens),
       .scratch = floats(work, at.norm_scratch),
       .accumulate = call.accumulate});
}

// dmiddle -> input_gradient
void Block::backward_attention(const LayerCall& call, const Buffers& at) const {
  const std::int64_t tokens = call.batch.sequences * call.batch.length;
  std::byte* const work = call.workspace;
  parts_.attention.backward(call, kept(call, at),
                            {.x = call.saved + at.norm1,
                             .dy = work + at.dmiddle,
                             .dx = work + at.dnorm,
                             .dattended = work + at.dattended,
                             .dqkv = work + at.dqkv,
                             .scratch = floats(work, at.attention_scratch)});
  parts_.attention_norm.backward(
      call, tokens,
      {.dy = work + at.dnorm,
       .x = call.input,
       .residual = work + at.dmiddle,
       .dx = call.input_gradient,
       .statistics = NormPart::statistics_in(floats(call.saved, at.statistics1), tokens),
       .scratch = floats(work, at.norm_scratch),
       .accumulate = call.accumulate});
}

}  // namespace sluice

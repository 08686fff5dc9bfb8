// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/head.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

constexpr std::int64_t kLogitsBytes = std::int64_t{8} << 20;
constexpr std::int64_t kLeastRows = 256;

}  // namespace

// R rows of a chunk, width C, vocabulary V.
struct Head::Buffers {
  std::int64_t tokens = 0, chunk = 0;
  std::int64_t losses = 0;                  // [tokens]
  std::int64_t normed = 0, statistics = 0;  // [R,C]
  std::int64_t logits = 0;                  // [R,V], their gradient in backward
  Bytes forward_workspace;
  std::int64_t dnormed = 0, norm_scratch = 0;  // [R,C]
  Bytes backward_workspace;

  std::int64_t rows_from(std::int64_t first) const { return std::min(chunk, tokens - first); }
};

Head::Head(const LayerTensors& tensors, const std::vector<FlatParameter>& all,
           const ModelShape& shape, DType dtype, NormPart norm, Linear projection)
    : ModelLayer("head", tensors, all),
      shape_(shape),
      dtype_(dtype),
      norm_(norm),
      projection_(projection) {}

std::unique_ptr<Head> Head::make(const ModelShape& shape, DType dtype,
                                 std::vector<FlatParameter>& all, int tied_flat) {
  const bool gpt2 = shape.family == Family::kGpt2;
  LayerTensors tensors(all, "head");
  NormPart norm{
      .width = shape.width, .layer_norm = gpt2, .epsilon = shape.norm_eps, .dtype = dtype};
  norm.scale = tensors.vector(gpt2 ? "transformer.ln_f.weight" : "model.norm.weight", shape.width);
  if (gpt2 && shape.bias) norm.shift = tensors.vector("transformer.ln_f.bias", shape.width);

  Linear projection{
      .in = shape.width, .out = shape.vocabulary, .stored_out_in = true, .dtype = dtype};
  projection.weight = tied_flat >= 0
                          ? tensors.tied(tied_flat)
                          : tensors.matrix("lm_head.weight", shape.vocabulary, shape.width);
  return std::unique_ptr<Head>(new Head(tensors, all, shape, dtype, norm, projection));
}

std::int64_t Head::chunk_rows(std::int64_t tokens) const {
  const std::int64_t fitting = kLogitsBytes / (size_of(dtype_) * shape_.vocabulary);
  return std::min(tokens, std::max(kLeastRows, fitting / kLeastRows * kLeastRows));
}

Head::Buffers Head::buffers(std::int64_t tokens) const {
  Buffers at;
  at.tokens = tokens;
  at.chunk = chunk_rows(tokens);
  Layout layout;
  at.losses = layout.take_floats(tokens);
  at.normed = layout.take(dtype_, at.chunk * shape_.width);
  at.statistics = layout.take_floats(NormPart::statistics_count(at.chunk));
  at.logits = layout.take(dtype_, at.chunk * shape_.vocabulary);
  at.forward_workspace = layout.size();
  at.dnormed = layout.take(dtype_, at.chunk * shape_.width);
  at.norm_scratch = layout.take_floats(norm_backward_scratch(at.chunk, shape_.width));
  at.backward_workspace = layout.size();
  return at;
}

LayerSpec Head::spec(std::int64_t sequences, std::int64_t length) const {
  const std::int64_t tokens = sequences * length;
  const Buffers at = buffers(tokens);
  LayerSpec spec = named_spec();
  spec.input = bytes_of(dtype_, tokens * shape_.width);
  spec.forward_workspace = at.forward_workspace;
  spec.backward_workspace = at.backward_workspace;
  spec.logits = bytes_of(DType::kFloat32, sequences * shape_.vocabulary);

  const auto chunks = static_cast<double>(divide_up(tokens, at.chunk));
  const Bytes logits = bytes_of(dtype_, tokens * shape_.vocabulary);
  PassCost gradients;
  spec.forward.launches = gradients.launches = 1;  // cross entropy
  projection_.add_cost(at.chunk, spec.forward, gradients);
  norm_.add_cost(tokens, spec.forward, gradients);
  spec.forward.elementwise += logits;
  gradients.elementwise += logits;
  for (PassCost* pass : {&spec.forward, &gradients}) {
    // The last chunk may be short: the products are those of `tokens` rows in all.
    const double whole = static_cast<double>(tokens) / static_cast<double>(at.chunk);
    for (MatmulCost& matmul : pass->matmuls) matmul.repeat = whole;
    pass->launches = static_cast<int>(pass->launches * chunks) + 1;  // the sum of losses
  }

  // Backward does its own forward.
  spec.backward = spec.forward;
  spec.backward.matmuls.insert(spec.backward.matmuls.end(), gradients.matmuls.begin(),
                               gradients.matmuls.end());
  spec.backward.elementwise += gradients.elementwise;
  spec.backward.launches += gradients.launches;
  return spec;
}

void Head::forward(const LayerCall& call) const {
  const Buffers at = buffers(call.batch.sequences * call.batch.length);
  if (call.loss != nullptr) {
    for (std::int64_t first = 0; first < at.tokens; first += at.chunk) {
      forward_chunk(call, at, first, /*backward=*/false);
    }
    sum_losses(call, at);
  }
  if (call.logits != nullptr) last_logits(call, at);
}

void Head::backward(const LayerCall& call) const {
  const Buffers at = buffers(call.batch.sequences * call.batch.length);
  clear_gaps(call);
  for (std::int64_t first = 0; first < at.tokens; first += at.chunk) {
    forward_chunk(call, at, first, /*backward=*/true);
    backward_chunk(call, at, first);
  }
  sum_losses(call, at);
}

// Norm, logits and losses of the chunk from row `first`; logits become their own
// gradient where `backward`.
void Head::forward_chunk(const LayerCall& call, const Buffers& at, std::int64_t first,
                         bool backward) const {
  const std::int64_t rows = at.rows_from(first);
  std::byte* const work = call.workspace;
  norm_.forward(call, rows, call.input + size_of(dtype_) * first * shape_.width, work + at.normed,
                NormPart::statistics_in(floats(work, at.statistics), at.chunk));
  projection_.forward(call, rows, {work + at.normed, shape_.width},
                      {work + at.logits, shape_.vocabulary});
  call.kernels.cross_entropy(call.queue, {.rows = rows,
                                          .vocabulary = shape_.vocabulary,
                                          .logits = work + at.logits,
                                          .stride = shape_.vocabulary,
                                          .targets = call.batch.targets + first,
                                          .scale = call.batch.loss_scale,
                                          .loss = floats(work, at.losses) + first,
                                          .backward = backward,
                                          .dtype = dtype_});
}

// What forward_chunk left in the workspace -> gradients, rows of input_gradient.
void Head::backward_chunk(const LayerCall& call, const Buffers& at, std::int64_t first) const {
  const std::int64_t rows = at.rows_from(first);
  const bool accumulate = call.accumulate || first > 0;
  const std::int64_t start = size_of(dtype_) * first * shape_.width;
  std::byte* const work = call.workspace;
  const ConstRows dlogits{work + at.logits, shape_.vocabulary};
  projection_.backward_parameters(call, rows, {work + at.normed, shape_.width}, dlogits,
                                  accumulate);
  projection_.backward_input(call, rows, dlogits, {work + at.dnormed, shape_.width});
  norm_.backward(call, rows,
                 {.dy = work + at.dnormed,
                  .x = call.input + start,
                  .dx = call.input_gradient + start,
                  .statistics = NormPart::statistics_in(floats(work, at.statistics), at.chunk),
                  .scratch = floats(work, at.norm_scratch),
                  .accumulate = accumulate});
}

void Head::sum_losses(const LayerCall& call, const Buffers& at) const {
  call.kernels.sum(
      call.queue, {.count = at.tokens, .x = floats(call.workspace, at.losses), .total = call.loss});
}

// Only the last row of each sequence is wanted: norms them one by one, then
// multiplies as many as a chunk holds.
void Head::last_logits(const LayerCall& call, const Buffers& at) const {
  const std::int64_t row_bytes = size_of(dtype_) * shape_.width;
  std::byte* const normed = call.workspace + at.normed;
  for (std::int64_t first = 0; first < call.batch.sequences; first += at.chunk) {
    const std::int64_t rows = std::min(at.chunk, call.batch.sequences - first);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t token = (first + row + 1) * call.batch.length - 1;
      norm_.forward(call, 1, call.input + row_bytes * token, normed + row_bytes * row,
                    NormPart::statistics_in(floats(call.workspace, at.statistics), at.chunk));
    }
    call.kernels.matmul(call.queue, {.m = rows,
                                     .n = shape_.vocabulary,
                                     .k = shape_.width,
                                     .a = normed,
                                     .a_stride = shape_.width,
                                     .b = weight_of(call, dtype_, projection_.weight),
                                     .b_stride = shape_.width,
                                     .b_transposed = true,
                                     .c = floats(call.logits, 0) + first * shape_.vocabulary,
                                     .c_stride = shape_.vocabulary,
                                     .dtype = dtype_,
                                     .output = DType::kFloat32});
  }
}

}  // namespace sluice

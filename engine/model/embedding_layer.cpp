// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/embedding_layer.h"

#include <memory>

namespace sluice {

std::unique_ptr<EmbeddingLayer> EmbeddingLayer::make(const ModelShape& shape, DType dtype,
                                                     std::vector<FlatParameter>& all,
                                                     int tied_flat) {
  const bool gpt2 = shape.family == Family::kGpt2;
  LayerTensors tensors(all, "embedding");
  Tables tables;
  tables.tokens =
      tied_flat >= 0 ? tensors.tied(tied_flat)
                     : tensors.matrix(gpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight",
                                      shape.vocabulary, shape.width);
  if (gpt2) tables.positions = tensors.matrix("transformer.wpe.weight", shape.context, shape.width);
  return std::unique_ptr<EmbeddingLayer>(new EmbeddingLayer(shape, dtype, tensors, all, tables));
}

LayerSpec EmbeddingLayer::spec(std::int64_t sequences, std::int64_t length) const {
  LayerSpec spec = named_spec();
  spec.output = bytes_of(dtype_, sequences * length * shape_.width);
  const std::int64_t tables = tables_.positions.exists() ? 2 : 1;
  spec.forward.elementwise = spec.output * (tables + 1);
  // Every row of the gradients is written, then the rows of the tokens are added.
  spec.backward.elementwise =
      bytes_of(DType::kFloat32, shape_.vocabulary * shape_.width) + spec.output * (2 * tables + 1);
  return spec;
}

void EmbeddingLayer::forward(const LayerCall& call) const {
  call.kernels.embedding(call.queue, {.tokens = call.batch.sequences * call.batch.length,
                                      .length = call.batch.length,
                                      .width = shape_.width,
                                      .vocabulary = shape_.vocabulary,
                                      .ids = call.batch.ids,
                                      .token_table = weight_of(call, dtype_, tables_.tokens),
                                      .position_table = weight_of(call, dtype_, tables_.positions),
                                      .out = call.output,
                                      .dtype = dtype_});
}

void EmbeddingLayer::backward(const LayerCall& call) const {
  clear_gaps(call);
  call.kernels.embedding_backward(call.queue,
                                  {.tokens = call.batch.sequences * call.batch.length,
                                   .length = call.batch.length,
                                   .width = shape_.width,
                                   .vocabulary = shape_.vocabulary,
                                   .ids = call.batch.ids,
                                   .dout = call.output_gradient,
                                   .token_gradient = gradient_of(call, tables_.tokens),
                                   .position_gradient = gradient_of(call, tables_.positions),
                                   .positions = tables_.positions.exists() ? shape_.context : 0,
                                   .dtype = dtype_,
                                   .accumulate = call.accumulate});
}

}  // namespace sluice

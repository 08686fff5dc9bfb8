// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/model.h"

#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "devices/base/error.h"
#include "engine/model/block.h"
#include "engine/model/embedding_layer.h"
#include "engine/model/head.h"

namespace sluice {
namespace {

struct Stack {
  std::vector<FlatParameter> flats;
  std::vector<std::unique_ptr<ModelLayer>> layers;
};

Stack make_stack(const ModelShape& shape, DType dtype) {
  Stack stack;
  int tied = -1;
  if (shape.tied) {
    tied = 0;
    FlatParameter matrix;
    matrix.name = "tied embedding";
    matrix.add(
        shape.family == Family::kGpt2 ? "transformer.wte.weight" : "model.embed_tokens.weight",
        {shape.vocabulary, shape.width}, /*decays=*/true);
    stack.flats.push_back(std::move(matrix));
  }
  stack.layers.push_back(EmbeddingLayer::make(shape, dtype, stack.flats, tied));
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    stack.layers.push_back(Block::make(shape, dtype, stack.flats, i));
  }
  stack.layers.push_back(Head::make(shape, dtype, stack.flats, tied));
  return stack;
}

// Made anew on each call: cheap, and a Workload then depends on nothing that lives.
Workload make_workload(const ModelShape& shape, const TrainingShape& training,
                       std::int64_t sequences) {
  SLUICE_CHECK(sequences >= 1 && training.global_batch % sequences == 0);
  Stack stack = make_stack(shape, training.dtype);
  Workload workload;
  workload.name = fmt::format("{} {} x {}", shape.family == Family::kGpt2 ? "gpt2" : "llama",
                              shape.layers, shape.width);
  workload.flats = std::move(stack.flats);
  for (const auto& layer : stack.layers) {
    workload.layers.push_back(layer->spec(sequences, training.length));
  }
  workload.compute = training.dtype;
  workload.gradient = training.gradient;
  workload.moments = training.moments;
  workload.micro_batches = static_cast<int>(training.global_batch / sequences);
  workload.groups = training.groups;
  SLUICE_CHECK(workload.micro_batches % workload.groups == 0);
  workload.sequences = sequences;
  workload.length = training.length;
  workload.queue_scratch = queue_scratch_for(training.device, {.length = training.length,
                                                               .heads = shape.heads,
                                                               .kv_heads = shape.kv_heads,
                                                               .head_width = shape.head_width,
                                                               .dtype = training.dtype});
  workload.checks_storage = training.checks_storage;
  return workload;
}

}  // namespace

Model make_model(const ModelShape& shape, const TrainingShape& training) {
  SLUICE_CHECK(shape.layers >= 1 && shape.width >= 1 && shape.ffn_width >= 1);
  SLUICE_CHECK(shape.heads >= 1 && shape.head_width >= 1 && shape.vocabulary >= 1);
  SLUICE_CHECK(shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0);
  SLUICE_CHECK(shape.family == Family::kLlama || shape.kv_heads == shape.heads);
  SLUICE_CHECK(training.length >= 1 && training.length <= shape.longest());
  Model model;
  model.workload = [shape, training](std::int64_t sequences) {
    return make_workload(shape, training, sequences);
  };
  for (auto& layer : make_stack(shape, training.dtype).layers) {
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The arithmetic of matrix_workload.h, out of real kernels.

#include <memory>
#include <vector>

#include "offload/workload.h"
#include "tests/support/matrix_workload.h"

namespace sluice {

class MatrixEmbedding final : public LayerProgram {
 public:
  explicit MatrixEmbedding(const MatrixWorkloadOptions& o) : o_(o) {}

  void forward(const LayerCall& c) const override {
    c.kernels.embedding(c.queue, {.tokens = c.batch.sequences * c.batch.length,
                                  .length = c.batch.length,
                                  .width = o_.width,
                                  .vocabulary = o_.vocabulary,
                                  .ids = c.batch.ids,
                                  .token_table = c.weights[0],
                                  .out = c.output,
                                  .dtype = o_.compute});
  }
  void backward(const LayerCall& c) const override {
    c.kernels.embedding_backward(c.queue, {.tokens = c.batch.sequences * c.batch.length,
                                           .length = c.batch.length,
                                           .width = o_.width,
                                           .vocabulary = o_.vocabulary,
                                           .ids = c.batch.ids,
                                           .dout = c.output_gradient,
                                           .token_gradient = c.gradients[0],
                                           .dtype = o_.compute,
                                           .accumulate = c.accumulate});
  }

 private:
  MatrixWorkloadOptions o_;
};

// y = gelu(x W + b); W x + b is kept.
class MatrixBlock final : public LayerProgram {
 public:
  explicit MatrixBlock(const MatrixWorkloadOptions& o) : o_(o) {}

  void forward(const LayerCall& c) const override {
    const std::int64_t tokens = c.batch.sequences * c.batch.length;
    c.kernels.matmul(c.queue, {.m = tokens,
                               .n = o_.width,
                               .k = o_.width,
                               .a = c.input,
                               .a_stride = o_.width,
                               .b = c.weights[0],
                               .b_stride = o_.width,
                               .bias = c.weights[0] + size_of(o_.compute) * bias(),
                               .c = c.saved,
                               .c_stride = o_.width,
                               .dtype = o_.compute,
                               .output = o_.compute});
    if (c.output == nullptr) return;  // recompute
    c.kernels.gelu(c.queue,
                   {.count = tokens * o_.width, .x = c.saved, .y = c.output, .dtype = o_.compute});
  }

  void backward(const LayerCall& c) const override {
    const std::int64_t tokens = c.batch.sequences * c.batch.length;
    c.kernels.gelu_backward(c.queue, {.count = tokens * o_.width,
                                      .x = c.saved,
                                      .dy = c.output_gradient,
                                      .dx = c.workspace,
                                      .dtype = o_.compute});
    c.kernels.matmul(c.queue, {.m = o_.width,
                               .n = o_.width,
                               .k = tokens,
                               .a = c.input,
                               .a_stride = o_.width,
                               .a_transposed = true,
                               .b = c.workspace,
                               .b_stride = o_.width,
                               .c = c.gradients[0],
                               .c_stride = o_.width,
                               .dtype = o_.compute,
                               .accumulate = c.accumulate});
    c.kernels.column_sum(c.queue, {.rows = tokens,
                                   .n = o_.width,
                                   .x = c.workspace,
                                   .stride = o_.width,
                                   .gradient = c.gradients[0] + bias(),
                                   .dtype = o_.compute,
                                   .accumulate = c.accumulate});
    c.kernels.matmul(c.queue, {.m = tokens,
                               .n = o_.width,
                               .k = o_.width,
                               .a = c.workspace,
                               .a_stride = o_.width,
                               .b = c.weights[0],
                               .b_stride = o_.width,
                               .b_transposed = true,
                               .c = c.input_gradient,
                               .c_stride = o_.width,
                               .dtype = o_.compute,
                               .output = o_.compute});
  }

 private:
  std::int64_t bias() const { return round_up(o_.width * o_.width, kTensorAlignment); }
  MatrixWorkloadOptions o_;
};

class MatrixHead final : public LayerProgram {
 public:
  explicit MatrixHead(const MatrixWorkloadOptions& o) : o_(o) {}

  void forward(const LayerCall& c) const override { losses(c, false); }

  void backward(const LayerCall& c) const override {
    losses(c, true);
    const std::int64_t tokens = c.batch.sequences * c.batch.length;
    c.kernels.matmul(c.queue, {.m = o_.vocabulary,
                               .n = o_.width,
                               .k = tokens,
                               .a = c.workspace,
                               .a_stride = o_.vocabulary,
                               .a_transposed = true,
                               .b = c.input,
                               .b_stride = o_.width,
                               .c = c.gradients[0],
                               .c_stride = o_.width,
                               .dtype = o_.compute,
                               .accumulate = c.accumulate});
    c.kernels.matmul(c.queue, {.m = tokens,
                               .n = o_.width,
                               .k = o_.vocabulary,
                               .a = c.workspace,
                               .a_stride = o_.vocabulary,
                               .b = c.weights[0],
                               .b_stride = o_.width,
                               .c = c.input_gradient,
                               .c_stride = o_.width,
                               .dtype = o_.compute,
                               .output = o_.compute});
  }

 private:
  void losses(const LayerCall& c, bool backward) const {
    const std::int64_t tokens = c.batch.sequences * c.batch.length;
    auto* losses = reinterpret_cast<float*>(
        c.workspace + round_up(size_of(o_.compute) * tokens * o_.vocabulary, std::int64_t{256}));
    c.kernels.matmul(c.queue, {.m = tokens,
                               .n = o_.vocabulary,
                               .k = o_.width,
                               .a = c.input,
                               .a_stride = o_.width,
                               .b = c.weights[0],
                               .b_stride = o_.width,
                               .b_transposed = true,
                               .c = c.workspace,
                               .c_stride = o_.vocabulary,
                               .dtype = o_.compute,
                               .output = o_.compute});
    c.kernels.cross_entropy(c.queue, {.rows = tokens,
                                      .vocabulary = o_.vocabulary,
                                      .logits = c.workspace,
                                      .stride = o_.vocabulary,
                                      .targets = c.batch.targets,
                                      .scale = c.batch.loss_scale,
                                      .loss = losses,
                                      .backward = backward,
                                      .dtype = o_.compute});
    c.kernels.sum(c.queue, {.count = tokens, .x = losses, .total = c.loss});
  }

  MatrixWorkloadOptions o_;
};

inline std::vector<std::unique_ptr<LayerProgram>> matrix_layers(const MatrixWorkloadOptions& o) {
  std::vector<std::unique_ptr<LayerProgram>> layers;
  layers.push_back(std::make_unique<MatrixEmbedding>(o));
  for (int b = 0; b < o.blocks; ++b) layers.push_back(std::make_unique<MatrixBlock>(o));
  layers.push_back(std::make_unique<MatrixHead>(o));
  return layers;
}

}  // namespace sluice

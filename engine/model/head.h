// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The last layer: final norm, projection onto the vocabulary, loss. It works on
// chunks of rows, so that no tokens x vocabulary matrix ever exists, and keeps
// nothing from forward to backward.

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model/linear.h"
#include "engine/model/model_layer.h"
#include "engine/model/model_shape.h"
#include "engine/model/norm_part.h"

namespace sluice {

class Head final : public ModelLayer {
 public:
  // `tied_flat` is the tied matrix in `all`, or -1 where shape is untied.
  static std::unique_ptr<Head> make(const ModelShape& shape, DType dtype,
                                    std::vector<FlatParameter>& all, int tied_flat);

  LayerSpec spec(std::int64_t sequences, std::int64_t length) const override;

  // *call.loss where it is asked for, call.logits likewise.
  void forward(const LayerCall& call) const override;
  void backward(const LayerCall& call) const override;

  // Rows worked on at a time, of `tokens`: as many as fill 8 MiB with logits, but
  // 256 where the vocabulary is so large that fewer would make poor products.
  // A function of the shape alone, since gradients are summed chunk by chunk.
  std::int64_t chunk_rows(std::int64_t tokens) const;

 private:
  struct Buffers;  // offsets inside the workspaces

  Head(const LayerTensors& tensors, const std::vector<FlatParameter>& all, const ModelShape& shape,
       DType dtype, NormPart norm, Linear projection);
  Buffers buffers(std::int64_t tokens) const;
  void forward_chunk(const LayerCall& call, const Buffers& at, std::int64_t first,
                     bool backward) const;
  void backward_chunk(const LayerCall& call, const Buffers& at, std::int64_t first) const;
  void sum_losses(const LayerCall& call, const Buffers& at) const;
  void last_logits(const LayerCall& call, const Buffers& at) const;

  ModelShape shape_;
  DType dtype_;
  NormPart norm_;
  Linear projection_;
};

}  // namespace sluice

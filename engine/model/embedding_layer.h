// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The first layer: rows of the token table, plus learned positions (GPT-2).

#include <cstdint>
#include <vector>

#include "engine/model/model_layer.h"
#include "engine/model/model_shape.h"

namespace sluice {

class EmbeddingLayer final : public ModelLayer {
 public:
  // `tied_flat` is the tied matrix in `all`, or -1 where shape is untied.
  static std::unique_ptr<EmbeddingLayer> make(const ModelShape& shape, DType dtype,
                                              std::vector<FlatParameter>& all, int tied_flat);

  LayerSpec spec(std::int64_t sequences, std::int64_t length) const override;
  void forward(const LayerCall& call) const override;
  void backward(const LayerCall& call) const override;

 private:
  struct Tables {
    TensorRef tokens;
    TensorRef positions;  // may not exist
  };
  EmbeddingLayer(const ModelShape& shape, DType dtype, const LayerTensors& tensors,
                 const std::vector<FlatParameter>& all, Tables tables)
      : ModelLayer("embedding", tensors, all), shape_(shape), dtype_(dtype), tables_(tables) {}

  ModelShape shape_;
  DType dtype_;
  Tables tables_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A transformer block:  middle = x + attention(norm(x));  y = middle + ffn(norm(middle)).

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model/attention_part.h"
#include "engine/model/feed_forward.h"
#include "engine/model/model_layer.h"
#include "engine/model/model_shape.h"
#include "engine/model/norm_part.h"

namespace sluice {

// What a block is made of; block_parts.cpp fills it with each family's tensors.
struct BlockParts {
  NormPart attention_norm;
  AttentionPart attention;
  NormPart ffn_norm;
  FeedForward ffn;
};
BlockParts gpt2_block_parts(const ModelShape& shape, DType dtype, std::int64_t index,
                            LayerTensors& tensors);
BlockParts llama_block_parts(const ModelShape& shape, DType dtype, std::int64_t index,
                             LayerTensors& tensors);

class Block final : public ModelLayer {
 public:
  // Block `index`, from 0. Its flat parameter is appended to `all`.
  static std::unique_ptr<Block> make(const ModelShape& shape, DType dtype,
                                     std::vector<FlatParameter>& all, std::int64_t index);

  LayerSpec spec(std::int64_t sequences, std::int64_t length) const override;
  void forward(const LayerCall& call) const override;
  void backward(const LayerCall& call) const override;

 private:
  struct Buffers;  // offsets inside saved and the workspaces

  Block(std::string name, const LayerTensors& tensors, const std::vector<FlatParameter>& all,
        const ModelShape& shape, DType dtype, BlockParts parts);
  Buffers buffers(std::int64_t sequences, std::int64_t length) const;
  AttentionPart::Kept kept(const LayerCall& call, const Buffers& at) const;
  void backward_ffn(const LayerCall& call, const Buffers& at) const;
  void backward_attention(const LayerCall& call, const Buffers& at) const;

  ModelShape shape_;
  DType dtype_;
  BlockParts parts_;
};

}  // namespace sluice

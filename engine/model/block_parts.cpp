// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <string>

#include "engine/model/block.h"

namespace sluice {
namespace {

// Makes the tensors of one block, all of whose names start alike.
struct BlockTensors {
  LayerTensors& tensors;
  std::string prefix;
  DType dtype;

  // GPT-2's Conv1D: [in, out].
  Linear in_out(const std::string& name, std::int64_t in, std::int64_t out, bool bias) const {
    Linear linear{.in = in, .out = out, .stored_out_in = false, .dtype = dtype};
    linear.weight = tensors.matrix(prefix + name + ".weight", in, out);
    if (bias) linear.bias = tensors.vector(prefix + name + ".bias", out);
    return linear;
  }

  // Llama's Linear: [out, in].
  Linear out_in(const std::string& name, std::int64_t in, std::int64_t out) const {
    Linear linear{.in = in, .out = out, .stored_out_in = true, .dtype = dtype};
    linear.weight = tensors.matrix(prefix + name + ".weight", out, in);
    return linear;
  }

  NormPart norm(const std::string& name, const ModelShape& shape) const {
    const bool gpt2 = shape.family == Family::kGpt2;
    NormPart part{
        .width = shape.width, .layer_norm = gpt2, .epsilon = shape.norm_eps, .dtype = dtype};
    part.scale = tensors.vector(prefix + name + ".weight", shape.width);
    if (gpt2 && shape.bias) part.shift = tensors.vector(prefix + name + ".bias", shape.width);
    return part;
  }
};

}  // namespace

BlockParts gpt2_block_parts(const ModelShape& shape, DType dtype, std::int64_t index,
                            LayerTensors& tensors) {
  const BlockTensors make{tensors, fmt::format("transformer.h.{}.", index), dtype};
  BlockParts parts;
  parts.attention_norm = make.norm("ln_1", shape);
  parts.attention = {.shape = shape, .dtype = dtype};
  parts.attention.qkv =
      Projection({make.in_out("attn.c_attn", shape.width, shape.qkv_width(), shape.bias)});
  parts.attention.output = make.in_out("attn.c_proj", shape.query_width(), shape.width, shape.bias);
  parts.ffn_norm = make.norm("ln_2", shape);
  parts.ffn = {.shape = shape, .dtype = dtype};
  parts.ffn.up = Projection({make.in_out("mlp.c_fc", shape.width, shape.ffn_width, shape.bias)});
  parts.ffn.down = make.in_out("mlp.c_proj", shape.ffn_width, shape.width, shape.bias);
  return parts;
}

BlockParts llama_block_parts(const ModelShape& shape, DType dtype, std::int64_t index,
                             LayerTensors& tensors) {
  const BlockTensors make{tensors, fmt::format("model.layers.{}.", index), dtype};
  BlockParts parts;
  parts.attention_norm = make.norm("input_layernorm", shape);
  parts.attention = {.shape = shape, .dtype = dtype};
  // Weights first, then biases: neighbours can then be one matrix and one bias.
  std::vector<Linear> qkv = {make.out_in("self_attn.q_proj", shape.width, shape.query_width()),
                             make.out_in("self_attn.k_proj", shape.width, shape.kv_width()),
                             make.out_in("self_attn.v_proj", shape.width, shape.kv_width())};
  if (shape.qkv_bias) {
    const char* const names[] = {"q", "k", "v"};
    for (std::size_t i = 0; i < qkv.size(); ++i) {
      qkv[i].bias = tensors.vector(fmt::format("{}self_attn.{}_proj.bias", make.prefix, names[i]),
                                   qkv[i].out);
    }
  }
  parts.attention.qkv = Projection(std::move(qkv));
  parts.attention.output = make.out_in("self_attn.o_proj", shape.query_width(), shape.width);
  parts.ffn_norm = make.norm("post_attention_layernorm", shape);
  parts.ffn = {.shape = shape, .dtype = dtype};
  parts.ffn.up = Projection({make.out_in("mlp.gate_proj", shape.width, shape.ffn_width),
                             make.out_in("mlp.up_proj", shape.width, shape.ffn_width)});
  parts.ffn.down = make.out_in("mlp.down_proj", shape.ffn_width, shape.width);
  return parts;
}

}  // namespace sluice

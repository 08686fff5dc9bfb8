// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The sizes and choices that make one transformer of the two families. Plain
// data: a config file, a command line or config.json of a model folder fills it.

#include <algorithm>
#include <cstdint>

#include "devices/base/dtype.h"
#include "kernels/kernels.h"

namespace sluice {

enum class Family : std::uint8_t {
  kGpt2,   // learned positions, LayerNorm, GELU; matrices stored [in, out]
  kLlama,  // RoPE, RMSNorm, SwiGLU; matrices stored [out, in]
};

struct ModelShape {
  Family family = Family::kGpt2;
  std::int64_t layers = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;    // divides heads; GPT-2: equal to heads
  std::int64_t head_width = 0;  // width / heads as a rule
  std::int64_t ffn_width = 0;
  std::int64_t vocabulary = 0;
  std::int64_t context = 0;  // longest sequence; rows of GPT-2's position table
  std::int64_t window = 0;   // keys that a query sees; 0: all. See longest()
  bool tied = true;          // the head multiplies by the embedding's matrix
  bool bias = true;          // GPT-2: of every linear layer and every norm
  bool qkv_bias = false;     // Llama: of q, k and v, as Qwen2 has
  float norm_eps = 1e-5F;
  float rope_theta = 10000.0F;
  RopeScaling rope_scaling{};
  float init_std = 0.02F;
  GeluForm gelu = GeluForm::kTanh;

  bool operator==(const ModelShape&) const = default;

  // Longest sequence that we compute: one that a sliding window leaves whole.
  std::int64_t longest() const { return window > 0 ? std::min(context, window) : context; }

  std::int64_t query_width() const { return heads * head_width; }
  std::int64_t kv_width() const { return kv_heads * head_width; }
  std::int64_t qkv_width() const { return query_width() + 2 * kv_width(); }
};

// What a run adds to the shape.
struct TrainingShape {
  DType dtype = DType::kFloat32;     // weights and activations
  DType gradient = DType::kFloat32;  // as it leaves the accelerator
  DType moments = DType::kFloat32;
  std::int64_t global_batch = 1;  // sequences of a step
  std::int64_t length = 1;        // tokens of a sequence, at most ModelShape::longest()
  int groups = 1;                 // power of two that divides the micro-batches of a step
  std::string device = "host";    // kind of what computes, for its queue's scratch
  bool checks_storage = false;    // limits.storage_checksum
};

}  // namespace sluice

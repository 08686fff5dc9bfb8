// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The shape of a model, complete: as a run config or a config.json resolved it.

#include <cstdint>

#include "kernels/kernels.h"

namespace sluice {

enum class ModelFamily : std::uint8_t { kGpt2, kLlama };

struct ModelConfig {
  ModelFamily family = ModelFamily::kGpt2;
  std::int64_t layers = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;   // divides heads; equal to heads for GPT-2
  std::int64_t ffn_width = 0;  // of the hidden layer of the feed-forward part
  std::int64_t vocab = 0;
  std::int64_t context = 0;         // tokens it can attend over; GPT-2 has that many positions
  bool tied = true;                 // the head is the embedding matrix
  bool bias = true;                 // GPT-2: of matrices and norms. Llama: always false
  bool qkv_bias = false;            // Llama: of q, k and v alone, as Qwen2 has it
  GeluForm gelu = GeluForm::kTanh;  // GPT-2
  double norm_eps = 1e-5;
  double rope_theta = 10000;  // Llama
  double init_std = 0.02;     // of a fresh model's matrices

  std::int64_t head_width() const { return width / heads; }

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace sluice

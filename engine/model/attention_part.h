// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Self-attention of a block: q, k, v projection, rotation (Llama), causal
// attention, output projection. Norm and residual are the block's.

#include <cstdint>

#include "engine/model/buffers.h"
#include "engine/model/linear.h"
#include "engine/model/model_shape.h"

namespace sluice {

struct AttentionPart {
  ModelShape shape{};
  DType dtype = DType::kFloat32;
  Projection qkv{};  // to [T, query_width + 2 kv_width]
  Linear output{};   // from [T, query_width]

  // All with the tokens of the call's micro-batch as rows.
  struct Kept {
    std::byte* qkv = nullptr;       // q and k rotated
    std::byte* attended = nullptr;  // before the output projection
    float* log_sum = nullptr;       // [sequences, heads, length]
  };

  // y[T, width] = attention(x).
  void forward(const LayerCall& call, const std::byte* x, const Kept& kept, std::byte* y) const;

  struct Backward {
    const std::byte* x = nullptr;    // as given to forward
    const std::byte* dy = nullptr;   // [T, width]
    std::byte* dx = nullptr;         // [T, width]
    std::byte* dattended = nullptr;  // scratch [T, query_width]
    std::byte* dqkv = nullptr;       // scratch [T, qkv_width]
    float* scratch = nullptr;        // scratch_count() floats
  };
  void backward(const LayerCall& call, const Kept& kept, const Backward& pass) const;
  std::int64_t scratch_count(std::int64_t sequences, std::int64_t length) const;

  void add_cost(std::int64_t sequences, std::int64_t length, PassCost& forward,
                PassCost& backward) const;

 private:
  Attention arguments(std::int64_t sequences, std::int64_t length, const Kept& kept) const;
  void rotate(const LayerCall& call, std::byte* qkv, bool inverse) const;
};

}  // namespace sluice

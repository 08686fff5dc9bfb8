// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The feed-forward part of a block: width -> ffn_width -> width with GELU (GPT-2)
// or SwiGLU (Llama) between. The activation is not kept: backward computes it
// again from what went into it, which costs no matrix product.

#include <cstdint>

#include "engine/model/buffers.h"
#include "engine/model/linear.h"
#include "engine/model/model_shape.h"

namespace sluice {

struct FeedForward {
  ModelShape shape{};
  DType dtype = DType::kFloat32;
  Projection up{};  // to [T, inner_width()]: GPT-2 c_fc; Llama gate and up
  Linear down{};    // from [T, ffn_width]

  // Width of what the activation reads.
  std::int64_t inner_width() const {
    return shape.family == Family::kLlama ? 2 * shape.ffn_width : shape.ffn_width;
  }
  // Whether backward needs `dinner` beside `hidden`.
  bool gated() const { return shape.family == Family::kLlama; }

  // y[rows, width]; inner[rows, inner_width] is kept; hidden[rows, ffn_width] is scratch.
  // Without y only inner is written.
  void forward(const LayerCall& call, std::int64_t rows, const std::byte* x, std::byte* inner,
               std::byte* hidden, std::byte* y) const;

  struct Backward {
    const std::byte* x = nullptr;
    const std::byte* inner = nullptr;
    const std::byte* dy = nullptr;  // [rows, width]
    std::byte* dx = nullptr;        // [rows, width]
    std::byte* hidden = nullptr;    // scratch [rows, ffn_width]
    std::byte* dinner = nullptr;    // scratch [rows, inner_width] where gated()
  };
  void backward(const LayerCall& call, std::int64_t rows, const Backward& pass) const;

  void add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const;

 private:
  void activate(const LayerCall& call, std::int64_t rows, const std::byte* inner,
                std::byte* hidden) const;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// In every build: plans for GPUs are made where there are none.

#include <algorithm>

#include "kernels/cuda/table.h"

namespace sluice {
namespace {

using namespace literals;

// What cuDNN keeps for one group of heads in backward, as 9.19 and 9.28 say for sm_80, sm_90 and
// sm_100: fp32 gradients of the queries and a number per row, and those of keys and values by query
// head where several heads share them.
Bytes linear_workspace(const Attention& shape) {
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int64_t row = 4 * shape.head_width * (group > 1 ? 2 : 1) + 4;
  return {group * shape.length * row};
}

// Beside that, in two bytes, every score of the group: what its deterministic backward wants on
// GPUs before Hopper, and before 9.25 on Hopper, too.
Bytes score_workspace(const Attention& shape) {
  const std::int64_t length = round_up(shape.length, 128);
  return {2 * shape.heads / shape.kv_heads * length * length};
}

}  // namespace

Bytes cuda_scratch(const Attention& shape) {
  if (shape.heads == 0 || shape.dtype != DType::kBFloat16) return kCudaScratch;
  constexpr Bytes kMostScores = 256_MiB;
  constexpr Bytes kSlack = 1_MiB;
  const Bytes scores = score_workspace(shape);
  const Bytes backward =
      linear_workspace(shape) + (scores <= kMostScores ? scores : Bytes{}) + kSlack;
  return std::max(kCudaScratch, Bytes{round_up(backward.value, (1_MiB).value)});
}

}  // namespace sluice

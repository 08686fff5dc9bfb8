// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "devices/base/error.h"
#include "kernels/host/attention_tiles.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"
#include "kernels/softmax_math.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// The running softmax of one block of queries.
struct RunningRows {
  float maximum[kAttentionBlock];
  float sum[kAttentionBlock];
};

// Turns a row of scores into exp(score - maximum) over the `visible` keys and 0
// beyond, and corrects the row's sum and output for a new maximum.
void absorb_row(float* scores, std::int64_t keys, std::int64_t visible, float scale,
                RunningRows& rows, std::int64_t i, float* out, std::int64_t width) {
  for (std::int64_t j = 0; j < visible; ++j) scores[j] *= scale;
  const float maximum =
      std::max(rows.maximum[i], lane_maximum(visible, [&](std::int64_t j) { return scores[j]; }));
#pragma GCC ivdep
  for (std::int64_t j = 0; j < visible; ++j) scores[j] = softmax_term(scores[j], maximum);
  std::fill(scores + visible, scores + keys, 0.0F);
  const float sum = lane_sum<float>(keys, [&](std::int64_t j) { return scores[j]; });
  const float correction = softmax_term(rows.maximum[i], maximum);
  rows.sum[i] = rows.sum[i] * correction + sum;
  rows.maximum[i] = maximum;
  for (std::int64_t d = 0; d < width; ++d) out[d] *= correction;
}

// Queries [first, first + count) of one head of one sequence.
void attention(const Attention& a, std::int64_t sequence, std::int64_t head, std::int64_t first,
               std::int64_t count) {
  const AttentionHead h = attention_head(a, sequence, head);
  alignas(64) float scores[kAttentionBlock * kAttentionBlock];
  alignas(64) float out[kAttentionBlock * kMaxHeadWidth];
  RunningRows rows;
  std::fill_n(rows.maximum, count, -std::numeric_limits<float>::infinity());
  std::fill_n(rows.sum, count, 0.0F);
  std::fill_n(out, count * a.head_width, 0.0F);
  for (std::int64_t key = 0; key < first + count; key += kAttentionBlock) {
    const std::int64_t keys = std::min(kAttentionBlock, first + count - key);
    multiply_tile({.m = count,
                   .n = keys,
                   .k = a.head_width,
                   .a = rows_of(h.q, first),
                   .b = transposed(rows_of(h.k, key)),
                   .c = scores,
                   .c_stride = keys});
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t visible = std::min(keys, first + i - key + 1);
      absorb_row(scores + i * keys, keys, visible, a.scale, rows, i, out + i * a.head_width,
                 a.head_width);
    }
    multiply_tile({.m = count,
                   .n = a.head_width,
                   .k = keys,
                   .a = {scores, keys, false, DType::kFloat32},
                   .b = rows_of(h.v, key),
                   .c = out,
                   .c_stride = a.head_width,
                   .accumulate = true});
  }
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t i = 0; i < count; ++i) {
      T* to = at<T>(a.out, (sequence * a.length + first + i) * a.out_stride + head * a.head_width);
      const float* from = out + i * a.head_width;
      const float reciprocal = 1.0F / rows.sum[i];
      for (std::int64_t d = 0; d < a.head_width; ++d) store(from[d] * reciprocal, &to[d]);
      h.log_sum[first + i] = log_of_sum(rows.maximum[i], rows.sum[i]);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {
HWY_EXPORT(attention);
}  // namespace

void run_on_host(Workers& workers, const Attention& a) {
  check_attention(a);
  const std::int64_t blocks = divide_up(a.length, kAttentionBlock);
  workers.for_each(a.sequences * a.heads * blocks, [&](std::int64_t unit) {
    // The longest rows first, so that no thread ends with one of them alone.
    const std::int64_t first = (blocks - 1 - unit / (a.sequences * a.heads)) * kAttentionBlock;
    const std::int64_t head = unit % (a.sequences * a.heads);
    HWY_DYNAMIC_DISPATCH(attention)
    (a, head / a.heads, head % a.heads, first, std::min(kAttentionBlock, a.length - first));
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/attention_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "devices/base/error.h"
#include "kernels/host/attention_tiles.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"
#include "kernels/softmax_math.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// probabilities p (from scores) and their gradient ds (from dp), both in place.
void score_gradients(const Attention& f, const float* log_sum, const float* delta,
                     std::int64_t queries, std::int64_t keys, std::int64_t offset, float* p,
                     float* ds) {
  for (std::int64_t i = 0; i < queries; ++i) {
    const std::int64_t visible = std::min(keys, offset + i + 1);
    float* p_row = p + i * keys;
    float* ds_row = ds + i * keys;
    const float shift = log_sum[i];
    const float row_delta = delta[i];
#pragma GCC ivdep
    for (std::int64_t j = 0; j < visible; ++j) {
      const float probability = softmax_term(p_row[j] * f.scale, shift);
      p_row[j] = probability;
      ds_row[j] = attention_score_gradient(probability, ds_row[j], row_delta, f.scale);
    }
    std::fill(p_row + visible, p_row + keys, 0.0F);
    std::fill(ds_row + visible, ds_row + keys, 0.0F);
  }
}

void fill_delta(const BackwardUnit& u) {
  const Attention& f = u.a.forward;
  const std::int64_t group = f.heads / f.kv_heads;
  with_type(f.dtype, [&]<typename T>(T) {
    for (std::int64_t g = 0; g < group; ++g) {
      const std::int64_t column = (u.kv_head * group + g) * f.head_width;
      for (std::int64_t i = 0; i < f.length; ++i) {
        const std::int64_t row = u.sequence * f.length + i;
        const T* out = at<T>(f.out, row * f.out_stride + column);
        const T* dout = at<T>(u.a.dout, row * u.a.dout_stride + column);
        u.delta[g * f.length + i] = lane_sum<float>(
            f.head_width, [&](std::int64_t d) { return loaded(out[d]) * loaded(dout[d]); });
      }
    }
  });
}

// Writes fp32 [rows][head_width] to rows of a strided output.
void store_rows(const float* from, std::int64_t rows, std::int64_t width, void* to,
                std::int64_t stride, std::int64_t row, std::int64_t column, DType dtype) {
  with_type(dtype, [&]<typename T>(T) {
    for (std::int64_t i = 0; i < rows; ++i) {
      T* out = at<T>(to, (row + i) * stride + column);
      for (std::int64_t d = 0; d < width; ++d) store(from[i * width + d], &out[d]);
    }
  });
}

// Adds the part of one block of queries and one of keys to dq, dk and dv.
void backward_tile(const BackwardUnit& u, std::int64_t g, std::int64_t query, std::int64_t key,
                   float* dk, float* dv) {
  const Attention& f = u.a.forward;
  const std::int64_t head = u.kv_head * (f.heads / f.kv_heads) + g;
  const AttentionHead h = attention_head(f, u.sequence, head);
  const std::int64_t queries = std::min(kAttentionBlock, f.length - query);
  const std::int64_t keys = std::min(kAttentionBlock, f.length - key);
  const std::int64_t width = f.head_width;
  const MatrixView q = rows_of(h.q, query);
  const MatrixView dout =
      head_view(u.a.dout, u.a.dout_stride, f.dtype, u.sequence * f.length + query, head * width);
  alignas(64) float p[kAttentionBlock * kAttentionBlock];
  alignas(64) float ds[kAttentionBlock * kAttentionBlock];
  const MatrixView p_view{p, keys, false, DType::kFloat32};
  const MatrixView ds_view{ds, keys, false, DType::kFloat32};
  GemmTile tile{.m = queries,
                .n = keys,
                .k = width,
                .a = q,
                .b = transposed(rows_of(h.k, key)),
                .c = p,
                .c_stride = keys};
  multiply_tile(tile);
  tile.a = dout;
  tile.b = transposed(rows_of(h.v, key));
  tile.c = ds;
  multiply_tile(tile);
  score_gradients(f, h.log_sum + query, u.delta + g * f.length + query, queries, keys, query - key,
                  p, ds);
  GemmTile sum{.m = keys,
               .n = width,
               .k = queries,
               .a = transposed(p_view),
               .b = dout,
               .c = dv,
               .c_stride = width,
               .accumulate = true};
  multiply_tile(sum);
  sum.a = transposed(ds_view);
  sum.b = q;
  sum.c = dk;
  multiply_tile(sum);
  sum.m = queries;
  sum.k = keys;
  sum.a = ds_view;
  sum.b = rows_of(h.k, key);
  sum.c = u.dq + (g * f.length + query) * width;
  multiply_tile(sum);
}

void attention_backward(const BackwardUnit& u) {
  const Attention& f = u.a.forward;
  const std::int64_t group = f.heads / f.kv_heads;
  const std::int64_t width = f.head_width;
  alignas(64) float dk[kAttentionBlock * kMaxHeadWidth];
  alignas(64) float dv[kAttentionBlock * kMaxHeadWidth];
  fill_delta(u);
  std::fill_n(u.dq, group * f.length * width, 0.0F);
  for (std::int64_t key = 0; key < f.length; key += kAttentionBlock) {
    const std::int64_t keys = std::min(kAttentionBlock, f.length - key);
    std::fill_n(dk, keys * width, 0.0F);
    std::fill_n(dv, keys * width, 0.0F);
    for (std::int64_t g = 0; g < group; ++g) {
      for (std::int64_t query = key; query < f.length; query += kAttentionBlock) {
        backward_tile(u, g, query, key, dk, dv);
      }
    }
    const std::int64_t row = u.sequence * f.length + key;
    store_rows(dk, keys, width, u.a.dk, u.a.dk_stride, row, u.kv_head * width, f.dtype);
    store_rows(dv, keys, width, u.a.dv, u.a.dv_stride, row, u.kv_head * width, f.dtype);
  }
  for (std::int64_t g = 0; g < group; ++g) {
    store_rows(u.dq + g * f.length * width, f.length, width, u.a.dq, u.a.dq_stride,
               u.sequence * f.length, (u.kv_head * group + g) * width, f.dtype);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {
HWY_EXPORT(attention_backward);
}  // namespace

std::int64_t attention_backward_scratch(const Attention& shape) {
  return shape.sequences * shape.heads * shape.length * (shape.head_width + 1);
}

void run_on_host(Workers& workers, const AttentionBackward& a) {
  const Attention& f = a.forward;
  check_attention(f);
  const std::int64_t rows = f.heads / f.kv_heads * f.length;  // of a unit
  const std::int64_t units = f.sequences * f.kv_heads;
  float* delta = a.scratch + units * rows * f.head_width;
  workers.for_each(units, [&](std::int64_t i) {
    HWY_DYNAMIC_DISPATCH(attention_backward)
    ({a, i / f.kv_heads, i % f.kv_heads, a.scratch + i * rows * f.head_width, delta + i * rows});
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

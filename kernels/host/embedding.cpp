// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/embedding.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "devices/base/error.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

void embedding(const Embedding& a, std::int64_t begin, std::int64_t end) {
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t t = begin; t < end; ++t) {
      SLUICE_CHECK(a.ids[t] >= 0 && a.ids[t] < a.vocabulary);
      const T* token = at<T>(a.token_table, a.ids[t] * a.width);
      T* out = at<T>(a.out, t * a.width);
      if (a.position_table == nullptr) {
        std::memcpy(out, token, sizeof(T) * static_cast<std::size_t>(a.width));
        continue;
      }
      const T* position = at<T>(a.position_table, t % a.length * a.width);
#pragma GCC ivdep
      for (std::int64_t i = 0; i < a.width; ++i) {
        store(loaded(token[i]) + loaded(position[i]), &out[i]);
      }
    }
  });
}

// Columns [begin, end) of both tables' gradients, tokens in order.
void embedding_backward(const EmbeddingBackward& a, std::int64_t begin, std::int64_t end) {
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const T* dout = at<T>(a.dout, t * a.width);
      float* token = a.token_gradient + a.ids[t] * a.width;
#pragma GCC ivdep
      for (std::int64_t i = begin; i < end; ++i) token[i] += loaded(dout[i]);
      if (a.position_gradient == nullptr) continue;
      float* position = a.position_gradient + t % a.length * a.width;
#pragma GCC ivdep
      for (std::int64_t i = begin; i < end; ++i) position[i] += loaded(dout[i]);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {

HWY_EXPORT(embedding);
HWY_EXPORT(embedding_backward);

constexpr std::int64_t kColumnChunk = 64;  // whole cache lines of both types

}  // namespace

void run_on_host(Workers& workers, const Embedding& a) {
  for_chunks(workers, a.tokens, rows_per_chunk(a.width), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(embedding)(a, begin, end);
  });
}

void run_on_host(Workers& workers, const EmbeddingBackward& a) {
  if (!a.accumulate) {
    run_on_host(workers,
                FillZero{a.token_gradient, bytes_of(DType::kFloat32, a.vocabulary * a.width)});
    if (a.position_gradient != nullptr) {
      run_on_host(workers,
                  FillZero{a.position_gradient, bytes_of(DType::kFloat32, a.positions * a.width)});
    }
  }
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    SLUICE_CHECK(a.ids[t] >= 0 && a.ids[t] < a.vocabulary);
  }
  for_chunks(workers, a.width, kColumnChunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(embedding_backward)(a, begin, end);
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

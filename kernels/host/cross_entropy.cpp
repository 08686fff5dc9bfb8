// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/cross_entropy.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "devices/base/error.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"
#include "kernels/softmax_math.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

template <typename T>
void cross_entropy_row(const CrossEntropy& a, std::int64_t row) {
  T* x = at<T>(a.logits, row * a.stride);
  const std::int32_t target = a.targets[row];
  if (target < 0) {
    a.loss[row] = 0;
    if (a.backward) std::fill_n(x, a.vocabulary, T{});
    return;
  }
  SLUICE_CHECK(target < a.vocabulary);
  const float maximum = lane_maximum(a.vocabulary, [&](std::int64_t i) { return loaded(x[i]); });
  const float sum = lane_sum<float>(
      a.vocabulary, [&](std::int64_t i) { return softmax_term(loaded(x[i]), maximum); });
  // Sums from the maximum: log_of_sum first would round to the size of the logits.
  a.loss[row] = std::log(sum) - (loaded(x[target]) - maximum);
  if (!a.backward) return;
  const float scale = *a.scale;
  const float reciprocal = 1.0F / sum;
  const float at_target = softmax_term(loaded(x[target]), maximum) * reciprocal;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < a.vocabulary; ++i) {
    const float probability = softmax_term(loaded(x[i]), maximum) * reciprocal;
    store(cross_entropy_gradient(probability, false, scale), &x[i]);
  }
  store(cross_entropy_gradient(at_target, true, scale), &x[target]);
}

void cross_entropy(const CrossEntropy& a, std::int64_t begin, std::int64_t end) {
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t row = begin; row < end; ++row) cross_entropy_row<T>(a, row);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {
HWY_EXPORT(cross_entropy);
}  // namespace

void run_on_host(Workers& workers, const CrossEntropy& a) {
  for_chunks(workers, a.rows, rows_per_chunk(a.vocabulary),
             [&](std::int64_t begin, std::int64_t end) {
               HWY_DYNAMIC_DISPATCH(cross_entropy)(a, begin, end);
             });
}

}  // namespace sluice
#endif  // HWY_ONCE

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/adamw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "devices/base/error.h"
#include "kernels/adamw_math.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// One pass: each array is read once and written once. The step is copied: read through a
// reference it might be what a store of fp32 changes, and the loop would stay scalar.
template <typename G, typename M, typename W>
void adamw_range(const AdamW& a, const AdamWStep& of_all, std::int64_t begin, std::int64_t end) {
  const AdamWStep step = of_all;
  const G* const gradient = at<G>(a.gradient, 0);
  float* const master = a.master;
  M* const first = at<M>(a.first_moment, 0);
  M* const second = at<M>(a.second_moment, 0);
  W* const weight = at<W>(a.weight, 0);
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    const AdamWElement updated =
        adamw_element(step, loaded(gradient[i]), {master[i], loaded(first[i]), loaded(second[i])});
    master[i] = updated.master;
    store(updated.first_moment, &first[i]);
    store(updated.second_moment, &second[i]);
    store(updated.master, &weight[i]);
  }
}

void adamw(const AdamW& a, const AdamWStep& step, std::int64_t begin, std::int64_t end) {
  with_type(a.gradient_dtype, [&]<typename G>(G) {
    with_type(a.moment_dtype, [&]<typename M>(M) {
      with_type(a.weight_dtype, [&]<typename W>(W) { adamw_range<G, M, W>(a, step, begin, end); });
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {
HWY_EXPORT(adamw);
}  // namespace

void run_on_host(Workers& workers, const AdamW& a) {
  SLUICE_CHECK(a.step >= 1);
  if (a.norm->finite == 0) {
    // The weight may be a buffer that held another segment's: it is written in any case.
    return run_on_host(workers, Cast{.count = a.count,
                                     .from = a.master,
                                     .to = a.weight,
                                     .from_dtype = DType::kFloat32,
                                     .to_dtype = a.weight_dtype});
  }
  const AdamWStep step = prepare_adamw({.learning_rate = a.learning_rate,
                                        .beta1 = a.beta1,
                                        .beta2 = a.beta2,
                                        .epsilon = a.epsilon,
                                        .weight_decay = a.weight_decay},
                                       a.step, a.norm->scale);
  for_chunks(workers, a.count, 32768, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(adamw)(a, step, begin, end);
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/adamw_math.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"

namespace sluice {
namespace {

constexpr int kThreads = 256;

// The clip scale is in device memory and so not known when `step` is prepared. Where the
// norm is not finite the weight alone is written: it may be a buffer that held another
// segment's.
template <typename G, typename M, typename W>
__global__ void adamw_kernel(std::int64_t count, AdamWStep step, const NormResult* norm,
                             const G* gradient, float* master, M* first, M* second, W* weight) {
  if (norm->finite == 0) {
    for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
      store(master[i], &weight[i]);
    }
    return;
  }
  step.gradient_scale = norm->scale;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const AdamWElement updated =
        adamw_element(step, loaded(gradient[i]), {master[i], loaded(first[i]), loaded(second[i])});
    master[i] = updated.master;
    store(updated.first_moment, &first[i]);
    store(updated.second_moment, &second[i]);
    store(updated.master, &weight[i]);
  }
}

}  // namespace

void run_on_cuda(Queue& queue, const AdamW& a) {
  SLUICE_CHECK(a.step >= 1);
  if (a.count == 0) return;
  const AdamWStep step = prepare_adamw({.learning_rate = a.learning_rate,
                                        .beta1 = a.beta1,
                                        .beta2 = a.beta2,
                                        .epsilon = a.epsilon,
                                        .weight_decay = a.weight_decay},
                                       a.step, 1.0F);
  for_type(a.gradient_dtype, [&]<typename G>(G) {
    for_type(a.moment_dtype, [&]<typename M>(M) {
      for_type(a.weight_dtype, [&]<typename W>(W) {
        launch(queue, "adamw", {grid_for(a.count, kThreads), kThreads}, adamw_kernel<G, M, W>,
               a.count, step, a.norm, typed<G>(a.gradient), a.master, typed<M>(a.first_moment),
               typed<M>(a.second_moment), typed<W>(a.weight));
      });
    });
  });
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"
#include "kernels/norm_math.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// What is normalised: the row of x, or its sum with the residual's.
template <typename T>
const T* norm_input(const Norm& a, std::int64_t row) {
  const T* x = at<T>(a.x, row * a.n);
  if (a.residual == nullptr) return x;
  const T* residual = at<T>(a.residual, row * a.n);
  T* sum = at<T>(a.sum, row * a.n);
#pragma GCC ivdep
  for (std::int64_t i = 0; i < a.n; ++i) store(loaded(x[i]) + loaded(residual[i]), &sum[i]);
  return sum;
}

template <typename T>
void norm_row(const Norm& a, std::int64_t row) {
  const T* x = norm_input<T>(a, row);
  const T* scale = at<T>(a.scale, 0);
  T* y = at<T>(a.y, row * a.n);
  const auto width = static_cast<float>(a.n);
  float mean = 0;
  if (a.layer_norm) {
    mean = lane_sum<float>(a.n, [&](std::int64_t i) { return loaded(x[i]); }) / width;
    a.mean[row] = mean;
  }
  const float square = lane_sum<float>(a.n, [&](std::int64_t i) {
    const float d = loaded(x[i]) - mean;
    return d * d;
  });
  const float reciprocal = reciprocal_deviation(square / width, a.epsilon);
  a.reciprocal[row] = reciprocal;
  if (a.shift != nullptr) {
    const T* shift = at<T>(a.shift, 0);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < a.n; ++i) {
      const float xhat = normalized(loaded(x[i]), mean, reciprocal);
      store(norm_output(xhat, loaded(scale[i]), loaded(shift[i])), &y[i]);
    }
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < a.n; ++i) {
      const float xhat = normalized(loaded(x[i]), mean, reciprocal);
      store(norm_output(xhat, loaded(scale[i]), 0.0F), &y[i]);
    }
  }
}

void norm(const Norm& a, std::int64_t begin, std::int64_t end) {
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t row = begin; row < end; ++row) norm_row<T>(a, row);
  });
}

// dx of one row; adds the row to the chunk's parameter gradients.
template <typename T>
void norm_backward_row(const NormBackward& a, std::int64_t row, float* dscale, float* dshift) {
  const T* x = at<T>(a.x, row * a.n);
  const T* dy = at<T>(a.dy, row * a.n);
  const T* scale = at<T>(a.scale, 0);
  T* dx = at<T>(a.dx, row * a.n);
  const auto width = static_cast<float>(a.n);
  const float mean = a.layer_norm ? a.mean[row] : 0.0F;
  const float reciprocal = a.reciprocal[row];
  float mean_gradient = 0;
  if (a.layer_norm) {
    mean_gradient =
        lane_sum<float>(a.n, [&](std::int64_t i) { return loaded(dy[i]) * loaded(scale[i]); }) /
        width;
  }
  const float mean_projection = lane_sum<float>(a.n,
                                                [&](std::int64_t i) {
                                                  const float xhat =
                                                      normalized(loaded(x[i]), mean, reciprocal);
                                                  return loaded(dy[i]) * loaded(scale[i]) * xhat;
                                                }) /
                                width;
  // Two loops: dx may be the memory of residual, so neither reads what the other wrote.
#pragma GCC ivdep
  for (std::int64_t i = 0; i < a.n; ++i) {
    const float d = loaded(dy[i]);
    dscale[i] += d * normalized(loaded(x[i]), mean, reciprocal);
    dshift[i] += d;
  }
  const auto input_gradient = [&](std::int64_t i) {
    const float xhat = normalized(loaded(x[i]), mean, reciprocal);
    return norm_input_gradient(loaded(dy[i]) * loaded(scale[i]), xhat, reciprocal, mean_gradient,
                               mean_projection);
  };
  if (a.residual != nullptr) {
    const T* residual = at<T>(a.residual, row * a.n);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < a.n; ++i) {
      store(input_gradient(i) + loaded(residual[i]), &dx[i]);
    }
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < a.n; ++i) store(input_gradient(i), &dx[i]);
  }
}

// Rows [begin, end), whose parameter gradients go to partial[2][n].
void norm_backward(const NormBackward& a, std::int64_t begin, std::int64_t end, float* partial) {
  std::fill_n(partial, 2 * a.n, 0.0F);
  with_type(a.dtype, [&]<typename T>(T) {
    for (std::int64_t row = begin; row < end; ++row) {
      norm_backward_row<T>(a, row, partial, partial + a.n);
    }
  });
}

// gradient[begin, end) (+)= the sum over chunks, in order, of partials[chunk][2][n].
void sum_partials(const float* partials, std::int64_t chunks, std::int64_t n, std::int64_t begin,
                  std::int64_t end, bool accumulate, float* gradient) {
  if (!accumulate) std::fill(gradient + begin, gradient + end, 0.0F);
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const float* partial = partials + chunk * 2 * n;
#pragma GCC ivdep
    for (std::int64_t i = begin; i < end; ++i) gradient[i] += partial[i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {

HWY_EXPORT(norm);
HWY_EXPORT(norm_backward);
HWY_EXPORT(sum_partials);

// Rows whose parameter gradients are summed together: at most 32 partial sums, so
// that scratch stays small, of at least 16 rows.
std::int64_t backward_chunk(std::int64_t rows) {
  return std::max<std::int64_t>(16, divide_up(rows, 32));
}

}  // namespace

std::int64_t norm_backward_scratch(std::int64_t rows, std::int64_t n) {
  return divide_up(rows, backward_chunk(rows)) * 2 * n;
}

void run_on_host(Workers& workers, const Norm& a) {
  for_chunks(workers, a.rows, rows_per_chunk(a.n), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm)(a, begin, end);
  });
}

void run_on_host(Workers& workers, const NormBackward& a) {
  const std::int64_t chunk = backward_chunk(a.rows);
  for_chunks(workers, a.rows, chunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_backward)(a, begin, end, a.scratch + begin / chunk * 2 * a.n);
  });
  const std::int64_t chunks = divide_up(a.rows, chunk);
  const float* const of_shift = chunks == 0 ? a.scratch : a.scratch + a.n;  // no rows, no scratch
  for_chunks(workers, a.n, 1024, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(sum_partials)
    (a.scratch, chunks, a.n, begin, end, a.accumulate, a.scale_gradient);
    if (a.shift_gradient != nullptr) {
      HWY_DYNAMIC_DISPATCH(sum_partials)
      (of_shift, chunks, a.n, begin, end, a.accumulate, a.shift_gradient);
    }
  });
}

}  // namespace sluice
#endif  // HWY_ONCE

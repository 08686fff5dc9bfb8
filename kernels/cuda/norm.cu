// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/norm_math.h"

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace sluice {
namespace {

constexpr int kThreads = 256;  // of a block, which takes a row at a time

// The sum of term(0) ... term(count - 1) on all threads of the block.
template <typename Term>
__device__ float row_sum(std::int64_t count, const Term& term) {
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) sum += term(i);
  return block_sum<kThreads>(sum);
}

// What is normalised: the row of x, or its sum with the residual's. A thread reads what it wrote.
template <typename T>
__device__ const T* norm_input(const Norm& a, std::int64_t row) {
  const T* x = static_cast<const T*>(a.x) + row * a.n;
  if (a.residual == nullptr) return x;
  const T* residual = static_cast<const T*>(a.residual) + row * a.n;
  T* sum = static_cast<T*>(a.sum) + row * a.n;
  for (std::int64_t i = threadIdx.x; i < a.n; i += kThreads) {
    store(loaded(x[i]) + loaded(residual[i]), &sum[i]);
  }
  return sum;
}

template <typename T>
__device__ void norm_row(const Norm& a, std::int64_t row) {
  const T* x = norm_input<T>(a, row);
  const T* scale = static_cast<const T*>(a.scale);
  const T* shift = static_cast<const T*>(a.shift);
  T* y = static_cast<T*>(a.y) + row * a.n;
  const auto width = static_cast<float>(a.n);
  float mean = 0;
  if (a.layer_norm) mean = row_sum(a.n, [&](std::int64_t i) { return loaded(x[i]); }) / width;
  const float square = row_sum(a.n, [&](std::int64_t i) {
    const float d = loaded(x[i]) - mean;
    return d * d;
  });
  const float reciprocal = reciprocal_deviation(square / width, a.epsilon);
  if (threadIdx.x == 0) {
    if (a.layer_norm) a.mean[row] = mean;
    a.reciprocal[row] = reciprocal;
  }
  for (std::int64_t i = threadIdx.x; i < a.n; i += kThreads) {
    const float xhat = normalized(loaded(x[i]), mean, reciprocal);
    store(norm_output(xhat, loaded(scale[i]), shift == nullptr ? 0.0F : loaded(shift[i])), &y[i]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) norm_kernel(Norm a) {
  for (std::int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) norm_row<T>(a, row);
}

// dx of one row. dx may be the memory of residual: an element is read and written by one thread.
template <typename T>
__device__ void norm_backward_row(const NormBackward& a, std::int64_t row) {
  const T* x = static_cast<const T*>(a.x) + row * a.n;
  const T* dy = static_cast<const T*>(a.dy) + row * a.n;
  const T* scale = static_cast<const T*>(a.scale);
  const T* residual =
      a.residual == nullptr ? nullptr : static_cast<const T*>(a.residual) + row * a.n;
  T* dx = static_cast<T*>(a.dx) + row * a.n;
  const auto width = static_cast<float>(a.n);
  const float mean = a.layer_norm ? a.mean[row] : 0.0F;
  const float reciprocal = a.reciprocal[row];
  const auto gradient = [&](std::int64_t i) { return loaded(dy[i]) * loaded(scale[i]); };
  const auto xhat = [&](std::int64_t i) { return normalized(loaded(x[i]), mean, reciprocal); };
  const float mean_gradient = a.layer_norm ? row_sum(a.n, gradient) / width : 0.0F;
  const float mean_projection =
      row_sum(a.n, [&](std::int64_t i) { return gradient(i) * xhat(i); }) / width;
  for (std::int64_t i = threadIdx.x; i < a.n; i += kThreads) {
    const float d =
        norm_input_gradient(gradient(i), xhat(i), reciprocal, mean_gradient, mean_projection);
    store(residual == nullptr ? d : d + loaded(residual[i]), &dx[i]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) norm_backward_kernel(NormBackward a) {
  for (std::int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
    norm_backward_row<T>(a, row);
  }
}

// What a row adds to the gradients of scale and of shift in a column.
template <typename T>
struct ScaleTerm {
  NormBackward a;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    const std::int64_t at = row * a.n + column;
    const float mean = a.layer_norm ? a.mean[row] : 0.0F;
    return loaded(static_cast<const T*>(a.dy)[at]) *
           normalized(loaded(static_cast<const T*>(a.x)[at]), mean, a.reciprocal[row]);
  }
};
template <typename T>
struct ShiftTerm {
  NormBackward a;
  __device__ float operator()(std::int64_t row, std::int64_t column) const {
    return loaded(static_cast<const T*>(a.dy)[row * a.n + column]);
  }
};
// Of the partial sums, in scratch[chunks][n].
struct PartialTerm {
  const float* scratch;
  std::int64_t n;
  __device__ float operator()(std::int64_t chunk, std::int64_t column) const {
    return scratch[chunk * n + column];
  }
};

// gradient (+)= the column sums of `term`: by chunks of rows into scratch, then over chunks. The
// chunks are as many as scratch has room for: fixed by `rows`.
template <typename Term>
void parameter_gradient(Queue& queue, const NormBackward& a, Term term, float* scratch,
                        float* gradient) {
  const std::int64_t chunks = norm_backward_scratch(a.rows, 1) / 2;
  if (chunks > 0) {
    sum_columns(
        queue, {.rows = a.rows, .n = a.n, .chunk = divide_up(a.rows, chunks), .to = scratch}, term);
  }
  sum_columns(
      queue,
      {.rows = chunks, .n = a.n, .chunk = chunks, .to = gradient, .accumulate = a.accumulate},
      PartialTerm{scratch, a.n});
}

}  // namespace

void run_on_cuda(Queue& queue, const Norm& a) {
  if (a.rows == 0) return;
  for_type(a.dtype, [&]<typename T>(T) {
    launch(queue, "norm", {grid_for(a.rows), kThreads}, norm_kernel<T>, a);
  });
}

void run_on_cuda(Queue& queue, const NormBackward& a) {
  for_type(a.dtype, [&]<typename T>(T) {
    const std::int64_t half = norm_backward_scratch(a.rows, a.n) / 2;
    parameter_gradient(queue, a, ScaleTerm<T>{a}, a.scratch, a.scale_gradient);
    if (a.shift_gradient != nullptr) {
      parameter_gradient(queue, a, ShiftTerm<T>{a}, a.scratch + half, a.shift_gradient);
    }
    if (a.rows == 0) return;
    launch(queue, "norm_backward", {grid_for(a.rows), kThreads}, norm_backward_kernel<T>, a);
  });
}

}  // namespace sluice

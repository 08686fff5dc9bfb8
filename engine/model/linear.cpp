// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/linear.h"

#include "devices/base/error.h"

namespace sluice {
namespace {

// Whether `next` continues `first` in memory, so that both are one matrix.
bool continues(const Linear& first, const Linear& next) {
  if (!first.stored_out_in || first.bias.exists() != next.bias.exists()) return false;
  const auto follows = [](TensorRef a, std::int64_t count, TensorRef b) {
    return a.flat == b.flat && a.offset + count == b.offset;
  };
  return follows(first.weight, first.in * first.out, next.weight) &&
         (!first.bias.exists() || follows(first.bias, first.out, next.bias));
}

template <typename View>
View columns_from(View rows, DType dtype, std::int64_t column) {
  rows.data += size_of(dtype) * column;
  return rows;
}

}  // namespace

void Linear::forward(const LayerCall& call, std::int64_t rows, ConstRows x, Rows y) const {
  call.kernels.matmul(call.queue, {.m = rows,
                                   .n = out,
                                   .k = in,
                                   .a = x.data,
                                   .a_stride = x.stride,
                                   .b = weight_of(call, dtype, weight),
                                   .b_stride = stored_out_in ? in : out,
                                   .b_transposed = stored_out_in,
                                   .bias = weight_of(call, dtype, bias),
                                   .c = y.data,
                                   .c_stride = y.stride,
                                   .dtype = dtype,
                                   .output = dtype});
}

void Linear::backward_parameters(const LayerCall& call, std::int64_t rows, ConstRows x,
                                 ConstRows dy, bool accumulate) const {
  // [in, out] = x^T dy, or [out, in] = dy^T x.
  const ConstRows left = stored_out_in ? dy : x;
  const ConstRows right = stored_out_in ? x : dy;
  call.kernels.matmul(call.queue, {.m = stored_out_in ? out : in,
                                   .n = stored_out_in ? in : out,
                                   .k = rows,
                                   .a = left.data,
                                   .a_stride = left.stride,
                                   .a_transposed = true,
                                   .b = right.data,
                                   .b_stride = right.stride,
                                   .c = gradient_of(call, weight),
                                   .c_stride = stored_out_in ? in : out,
                                   .dtype = dtype,
                                   .output = DType::kFloat32,
                                   .accumulate = accumulate});
  if (!bias.exists()) return;
  call.kernels.column_sum(call.queue, {.rows = rows,
                                       .n = out,
                                       .x = dy.data,
                                       .stride = dy.stride,
                                       .gradient = gradient_of(call, bias),
                                       .dtype = dtype,
                                       .accumulate = accumulate});
}

void Linear::backward_input(const LayerCall& call, std::int64_t rows, ConstRows dy, Rows dx,
                            bool add) const {
  call.kernels.matmul(call.queue, {.m = rows,
                                   .n = in,
                                   .k = out,
                                   .a = dy.data,
                                   .a_stride = dy.stride,
                                   .b = weight_of(call, dtype, weight),
                                   .b_stride = stored_out_in ? in : out,
                                   .b_transposed = !stored_out_in,
                                   .c = dx.data,
                                   .c_stride = dx.stride,
                                   .dtype = dtype,
                                   .output = dtype,
                                   .accumulate = add});
}

void Linear::add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const {
  const auto m = static_cast<double>(rows);
  const auto n = static_cast<double>(out);
  const auto k = static_cast<double>(in);
  forward.matmuls.push_back({.m = m, .n = n, .k = k});
  forward.launches += 1;
  backward.matmuls.push_back({.m = m, .n = k, .k = n});
  backward.matmuls.push_back({.m = stored_out_in ? n : k, .n = stored_out_in ? k : n, .k = m});
  backward.launches += 2;
  if (bias.exists()) {
    backward.elementwise += bytes_of(dtype, rows * out);
    backward.launches += 1;
  }
}

Projection::Projection(std::vector<Linear> parts) {
  for (const Linear& part : parts) {
    SLUICE_CHECK(part.in == parts.front().in && part.dtype == parts.front().dtype);
    out_ += part.out;
    if (!parts_.empty() && continues(parts_.back(), part)) {
      parts_.back().out += part.out;
    } else {
      parts_.push_back(part);
    }
  }
}

void Projection::forward(const LayerCall& call, std::int64_t rows, ConstRows x, Rows y) const {
  std::int64_t column = 0;
  for (const Linear& part : parts_) {
    part.forward(call, rows, x, columns_from(y, part.dtype, column));
    column += part.out;
  }
}

void Projection::backward(const LayerCall& call, std::int64_t rows, ConstRows x, ConstRows dy,
                          Rows dx) const {
  std::int64_t column = 0;
  for (const Linear& part : parts_) {
    const ConstRows part_dy = columns_from(dy, part.dtype, column);
    part.backward_parameters(call, rows, x, part_dy, call.accumulate);
    part.backward_input(call, rows, part_dy, dx, /*add=*/column > 0);
    column += part.out;
  }
}

void Projection::add_cost(std::int64_t rows, PassCost& forward, PassCost& backward) const {
  for (const Linear& part : parts_) part.add_cost(rows, forward, backward);
}

}  // namespace sluice

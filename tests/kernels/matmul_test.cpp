// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"
#include "tests/support/matmul_cases.h"
#include "tests/support/matmul_ref.h"

namespace sluice {
namespace {

Tensor operand(std::int64_t rows, std::int64_t columns, bool transposed, DType dtype,
               std::int64_t padding, unsigned seed) {
  Tensor t(transposed ? columns : rows, transposed ? rows : columns, dtype, padding);
  t.randomize(seed);
  return t;
}

std::vector<double> dense(const Tensor& t, bool transposed) {
  if (!transposed) return t.values();
  return transposed_ref(static_cast<std::size_t>(t.rows()), static_cast<std::size_t>(t.columns()),
                        t.values());
}

void expect_product(const MatmulCase& shape, DType dtype, DType output) {
  Workers workers(2);
  Tensor a = operand(shape.m, shape.k, shape.a_transposed, dtype, shape.padding, 1);
  Tensor b = operand(shape.k, shape.n, shape.b_transposed, dtype, shape.padding, 2);
  Tensor bias = operand(1, shape.n, false, dtype, 0, 3);
  Tensor c = operand(shape.m, shape.n, false, output, shape.padding, 4);
  std::vector<double> start = c.values();
  for (std::size_t i = 0; i < start.size(); ++i) {
    if (!shape.accumulate) start[i] = 0;
    if (shape.bias) start[i] += bias.get(0, static_cast<std::int64_t>(i) % shape.n);
  }
  const std::vector<double> expected =
      matmul_ref(static_cast<std::size_t>(shape.m), static_cast<std::size_t>(shape.n),
                 static_cast<std::size_t>(shape.k), dense(a, shape.a_transposed),
                 dense(b, shape.b_transposed), start);

  run_on_host(workers, Matmul{.m = shape.m,
                              .n = shape.n,
                              .k = shape.k,
                              .a = a.data(),
                              .a_stride = a.stride(),
                              .a_transposed = shape.a_transposed,
                              .b = b.data(),
                              .b_stride = b.stride(),
                              .b_transposed = shape.b_transposed,
                              .bias = shape.bias ? bias.data() : nullptr,
                              .c = c.data(),
                              .c_stride = c.stride(),
                              .dtype = dtype,
                              .output = output,
                              .accumulate = shape.accumulate});

  EXPECT_TRUE(close(c, expected, 1e-6)) << shape.m << " x " << shape.n << " x " << shape.k;
}

TEST(Matmul, MatchesTheReferenceInEveryFormAndTypeAtEdgeSizes) {
  for (const MatmulCase& shape : matmul_edge_cases()) {
    for (const DType dtype : kBothTypes) {
      for (const DType output : kBothTypes) expect_product(shape, dtype, output);
    }
  }
}

}  // namespace
}  // namespace sluice

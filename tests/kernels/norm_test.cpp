// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/finite_difference.h"
#include "tests/support/kernel_tensor.h"
#include "tests/support/norm_ref.h"

namespace sluice {
namespace {

struct NormFixture {
  NormFixture(std::int64_t row_count, std::int64_t width, bool is_layer_norm, DType type)
      : rows(row_count),
        n(width),
        layer_norm(is_layer_norm),
        dtype(type),
        x(rows, n, type),
        scale(1, n, type),
        shift(1, n, type),
        y(rows, n, type),
        dy(rows, n, type),
        residual(rows, n, type),
        mean(1, rows),
        reciprocal(1, rows),
        dscale(1, n),
        dshift(1, n),
        scratch(1, norm_backward_scratch(rows, n)) {
    unsigned seed = 1;
    for (Tensor* t : {&x, &scale, &shift, &dy, &residual, &dscale, &dshift}) t->randomize(++seed);
  }

  NormRef<double> reference() const {
    return {static_cast<std::size_t>(rows),
            static_cast<std::size_t>(n),
            layer_norm,
            1e-5,
            x.values(),
            scale.values(),
            layer_norm ? shift.values() : std::vector<double>{}};
  }

  Norm forward() {
    return {.rows = rows,
            .n = n,
            .layer_norm = layer_norm,
            .x = x.data(),
            .scale = scale.data(),
            .shift = layer_norm ? shift.data() : nullptr,
            .y = y.data(),
            .mean = layer_norm ? mean.floats() : nullptr,
            .reciprocal = reciprocal.floats(),
            .dtype = dtype};
  }

  // In place: dx is the memory of residual.
  NormBackward backward(bool accumulate) {
    return {.rows = rows,
            .n = n,
            .layer_norm = layer_norm,
            .dy = dy.data(),
            .x = x.data(),
            .scale = scale.data(),
            .mean = layer_norm ? mean.floats() : nullptr,
            .reciprocal = reciprocal.floats(),
            .residual = residual.data(),
            .dx = residual.data(),
            .scale_gradient = dscale.floats(),
            .shift_gradient = layer_norm ? dshift.floats() : nullptr,
            .scratch = scratch.floats(),
            .dtype = dtype,
            .accumulate = accumulate};
  }

  std::int64_t rows, n;
  bool layer_norm;
  DType dtype;
  Tensor x, scale, shift, y, dy, residual, mean, reciprocal, dscale, dshift, scratch;
};

std::vector<double> sum_of(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

void expect_norm(NormFixture& f, bool accumulate) {
  Workers workers(2);
  const NormRef<double> reference = f.reference();
  const auto gradients = reference.backward(f.dy.values());
  const std::vector<double> zero(static_cast<std::size_t>(f.n));
  const auto dx = sum_of(gradients.dx, f.residual.values());
  const auto dscale = sum_of(gradients.dscale, accumulate ? f.dscale.values() : zero);
  const auto dshift = sum_of(gradients.dshift, accumulate ? f.dshift.values() : zero);

  run_on_host(workers, f.forward());
  run_on_host(workers, f.backward(accumulate));

  EXPECT_TRUE(close(f.y, reference.forward(), 1e-6));
  EXPECT_TRUE(close(f.residual, dx, 2e-6));
  EXPECT_TRUE(close(f.dscale, dscale, 2e-6));
  if (f.layer_norm) {
    EXPECT_TRUE(close(f.dshift, dshift, 2e-6));
  }
  EXPECT_TRUE(f.scratch.canaries_intact() && f.mean.canaries_intact());
}

TEST(Norm, MatchesTheReferenceForwardAndBackwardAtEdgeSizes) {
  for (const auto& [rows, n] : {std::pair{0, 5}, {1, 1}, {3, 17}, {49, 72}, {130, 768}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool layer_norm : {true, false}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << n << ' ' << name_of(dtype));
        NormFixture f(rows, n, layer_norm, dtype);
        expect_norm(f, /*accumulate=*/rows % 2 == 0);
      }
    }
  }
}

TEST(Norm, OfASumHasTheBitsOfTheSumAndItsNorm) {
  Workers workers(2);
  for (const auto& [rows, n] : {std::pair{0, 5}, {1, 1}, {3, 17}, {49, 72}}) {
    for (const DType dtype : kBothTypes) {
      NormFixture apart(rows, n, true, dtype);
      NormFixture at_once(rows, n, true, dtype);
      run_on_host(workers, Add{.count = rows * n,
                               .a = apart.residual.data(),
                               .b = apart.x.data(),
                               .y = apart.x.data(),
                               .dtype = dtype});
      run_on_host(workers, apart.forward());
      Norm norm = at_once.forward();
      norm.residual = at_once.residual.data();
      norm.sum = at_once.x.data();
      run_on_host(workers, norm);
      EXPECT_EQ(at_once.x.values(), apart.x.values());
      EXPECT_EQ(at_once.y.values(), apart.y.values());
      EXPECT_EQ(at_once.reciprocal.values(), apart.reciprocal.values());
      EXPECT_TRUE(at_once.x.canaries_intact() && at_once.y.canaries_intact());
    }
  }
}

TEST(Norm, ReferenceGradientsAreThoseOfFiniteDifferences) {
  for (const bool layer_norm : {true, false}) {
    NormFixture f(3, 7, layer_norm, DType::kFloat32);
    NormRef<double> reference = f.reference();
    const std::vector<double> dy = f.dy.values();
    const auto gradients = reference.backward(dy);
    const auto loss = [&] { return dot(reference.forward(), dy); };

    EXPECT_LT(gradient_error(&reference.x, gradients.dx, loss), 1e-8);
    EXPECT_LT(gradient_error(&reference.scale, gradients.dscale, loss), 1e-8);
  }
}

}  // namespace
}  // namespace sluice

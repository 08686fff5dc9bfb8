// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "kernels/rope_math.h"
#include "tests/support/activation_ref.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

template <typename Formula>
std::vector<double> mapped(std::vector<double> x, const Formula& formula) {
  for (double& v : x) v = formula(v);
  return x;
}

TEST(Gelu, MatchesTheReferenceInBothFormsForwardAndBackward) {
  Workers workers(2);
  for (const std::int64_t count : kElementCounts) {
    for (const DType dtype : kBothTypes) {
      for (const GeluForm form : {GeluForm::kTanh, GeluForm::kErf}) {
        const bool tanh = form == GeluForm::kTanh;
        Tensor x(1, count, dtype);
        Tensor y(1, count, dtype);
        Tensor dy(1, count, dtype);
        x.randomize(1, 3.0);
        dy.randomize(2);
        const auto expected =
            mapped(x.values(), tanh ? gelu_tanh_ref<double> : gelu_erf_ref<double>);
        auto gradient = mapped(
            x.values(), tanh ? gelu_tanh_derivative_ref<double> : gelu_erf_derivative_ref<double>);
        for (std::int64_t i = 0; i < count; ++i) {
          gradient[static_cast<std::size_t>(i)] *= dy.get(0, i);
        }

        run_on_host(workers, Gelu{count, form, x.data(), y.data(), dtype});
        run_on_host(workers, GeluBackward{count, form, x.data(), dy.data(), dy.data(), dtype});
        run_on_host(workers, Gelu{count, form, x.data(), x.data(), dtype});

        EXPECT_TRUE(close(y, expected, 1e-6));
        EXPECT_TRUE(close(x, expected, 1e-6)) << "in place";
        EXPECT_TRUE(close(dy, gradient, 1e-6));
      }
    }
  }
}

TEST(SwiGlu, MatchesTheReferenceForwardAndBackwardInPlace) {
  Workers workers(2);
  for (const auto& [rows, width] : {std::pair{0, 4}, {1, 1}, {3, 19}, {300, 96}}) {
    for (const DType dtype : kBothTypes) {
      Tensor gate_up(rows, 2 * width, dtype);
      Tensor y(rows, width, dtype);
      Tensor dy(rows, width, dtype);
      gate_up.randomize(1, 2.0);
      dy.randomize(2);
      std::vector<double> expected;
      std::vector<double> gradient;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < width; ++j) {
          expected.push_back(silu_ref(gate_up.get(i, j)) * gate_up.get(i, width + j));
        }
        for (std::int64_t j = 0; j < 2 * width; ++j) {
          const double g = gate_up.get(i, j % width);
          const double up = gate_up.get(i, width + j % width);
          gradient.push_back(dy.get(i, j % width) *
                             (j < width ? up * silu_derivative_ref(g) : silu_ref(g)));
        }
      }

      run_on_host(workers, SwiGlu{rows, width, gate_up.data(), y.data(), dtype});
      run_on_host(workers,
                  SwiGluBackward{rows, width, gate_up.data(), dy.data(), gate_up.data(), dtype});

      EXPECT_TRUE(close(y, expected, 1e-6));
      EXPECT_TRUE(close(gate_up, gradient, 1e-6));
    }
  }
}

TEST(Add, AddsInPlace) {
  Workers workers(2);
  for (const std::int64_t count : kElementCounts) {
    for (const DType dtype : kBothTypes) {
      Tensor a(1, count, dtype);
      Tensor b(1, count, dtype);
      a.randomize(1);
      b.randomize(2);
      std::vector<double> expected = a.values();
      for (std::int64_t i = 0; i < count; ++i) {
        expected[static_cast<std::size_t>(i)] += b.get(0, i);
      }
      run_on_host(workers, Add{count, a.data(), b.data(), a.data(), dtype});
      EXPECT_TRUE(close(a, expected, 1e-7));
    }
  }
}

TEST(Cast, RoundsToNearestEvenAndWidensExactly) {
  Workers workers(2);
  for (const std::int64_t count : kElementCounts) {
    Tensor wide(1, count);
    Tensor narrow(1, count, DType::kBFloat16);
    Tensor back(1, count);
    wide.randomize(1, 100.0);
    Tensor expected(1, count, DType::kBFloat16);
    expected.set_values(wide.values());

    run_on_host(workers,
                Cast{count, wide.data(), narrow.data(), DType::kFloat32, DType::kBFloat16});
    run_on_host(workers,
                Cast{count, narrow.data(), back.data(), DType::kBFloat16, DType::kFloat32});

    EXPECT_EQ(narrow.values(), expected.values());
    EXPECT_EQ(back.values(), expected.values());
    EXPECT_TRUE(narrow.canaries_intact() && back.canaries_intact());
  }
}

TEST(FillZero, ZeroesExactlyItsBytes) {
  Workers workers(2);
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{3}, std::int64_t{600000}}) {
    Tensor x(1, count);
    x.randomize(1);
    run_on_host(workers, FillZero{x.data(), bytes_of(DType::kFloat32, count)});
    EXPECT_TRUE(close(x, std::vector<double>(static_cast<std::size_t>(count)), 0.0));
  }
}

// Hugging Face's apply_rotary_pos_emb: x cos + rotate_half(x) sin.
TEST(Rope, RotatesPairsByThePositionInTheSequenceAndBack) {
  Workers workers(2);
  for (const DType dtype : kBothTypes) {
    const std::int64_t length = 37;
    const std::int64_t heads = 3;
    const std::int64_t width = 24;
    Tensor x(2 * length, heads * width, dtype, 5);
    x.randomize(1);
    const std::vector<double> before = x.values();
    std::vector<double> expected = before;
    for (std::int64_t i = 0; i < std::ssize(expected); ++i) {
      const std::int64_t position = i / (heads * width) % length;
      const std::int64_t d = i % width;
      const double angle = static_cast<double>(position) *
                           std::pow(10000.0, -2.0 * static_cast<double>(d % (width / 2)) / width);
      const bool low = d < width / 2;
      const double other = before[static_cast<std::size_t>(low ? i + width / 2 : i - width / 2)];
      expected[static_cast<std::size_t>(i)] =
          before[static_cast<std::size_t>(i)] * std::cos(angle) +
          (low ? -other : other) * std::sin(angle);
    }
    Rope rope{.tokens = 2 * length,
              .length = length,
              .heads = heads,
              .head_width = width,
              .x = x.data(),
              .stride = x.stride(),
              .dtype = dtype};

    run_on_host(workers, rope);
    EXPECT_TRUE(close(x, expected, 1e-6));

    rope.inverse = true;
    run_on_host(workers, rope);
    EXPECT_TRUE(close(x, before, dtype == DType::kFloat32 ? 1e-6 : 0x1p-8));
  }
}

// Hugging Face's rope_type "llama3": with the numbers of Llama 3.1, whose 64 pairs have
// wavelengths on both sides of its limits and between them.
TEST(Rope, ScalesFrequenciesAsLlama3Does) {
  const RopeScaling scaling{
      .factor = 8, .low_factor = 1, .high_factor = 4, .original_context = 8192};
  int kept = 0;
  int stretched = 0;
  for (int i = 0; i < 64; ++i) {
    const double plain = std::pow(500000.0, -2.0 * i / 128);
    const double wavelength = 2 * M_PI / plain;
    double expected = plain;
    if (wavelength > 8192.0 / 1) {
      expected = plain / 8;
      ++stretched;
    } else if (wavelength >= 8192.0 / 4) {
      const double smooth = (8192 / wavelength - 1) / (4 - 1);
      expected = (1 - smooth) * plain / 8 + smooth * plain;
    } else {
      ++kept;
    }
    EXPECT_NEAR(rope_frequency(500000.0F, scaling, i, 128), expected, 1e-15 * plain) << i;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(stretched, 0);
  EXPECT_LT(kept + stretched, 64);

  // The kernel turns by them: far from the plain angle at position 1000.
  Workers workers(1);
  Tensor x(1001, 128, DType::kFloat32, 0);
  x.randomize(1);
  const std::vector<double> before = x.values();
  run_on_host(workers, Rope{.tokens = 1001,
                            .length = 1001,
                            .heads = 1,
                            .head_width = 128,
                            .x = x.data(),
                            .stride = x.stride(),
                            .theta = 500000.0F,
                            .scaling = scaling});
  const std::size_t low = std::size_t{1000} * 128 + 40;
  const double angle = 1000 * rope_frequency(500000.0F, scaling, 40, 128);
  EXPECT_NEAR(x.values()[low], before[low] * std::cos(angle) - before[low + 64] * std::sin(angle),
              1e-6);
}

}  // namespace
}  // namespace sluice

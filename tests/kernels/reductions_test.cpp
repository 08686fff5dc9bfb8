// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "devices/workers.h"
#include "kernels/digest_math.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {
namespace {

TEST(ColumnSum, SumsRowsOfAnyStrideIntoTheGradient) {
  Workers workers(2);
  for (const auto& [rows, n] : {std::pair{0, 5}, {1, 1}, {65, 130}, {1000, 72}}) {
    for (const DType dtype : kBothTypes) {
      for (const bool accumulate : {false, true}) {
        Tensor x(rows, n, dtype, 3);
        Tensor gradient(1, n);
        x.randomize(1);
        gradient.randomize(2);
        std::vector<double> expected = gradient.values();
        if (!accumulate) std::fill(expected.begin(), expected.end(), 0.0);
        for (std::int64_t i = 0; i < rows * n; ++i) {
          expected[static_cast<std::size_t>(i % n)] += x.get(i / n, i % n);
        }
        run_on_host(workers, ColumnSum{.rows = rows,
                                       .n = n,
                                       .x = x.data(),
                                       .stride = x.stride(),
                                       .gradient = gradient.floats(),
                                       .dtype = dtype,
                                       .accumulate = accumulate});
        EXPECT_TRUE(close(gradient, expected, 1e-6));
      }
    }
  }
}

TEST(Sum, AddsInChunksAndAccumulates) {
  Workers workers(2);
  for (const std::int64_t count : {0, 1, 31, 16385, 2000000}) {
    Tensor x(1, count);
    Tensor total(1, 1);
    x.randomize(1);
    total.set(0, 0, 2.5);
    double expected = 2.5;
    for (const double v : x.values()) expected += v;
    run_on_host(workers, Sum{count, x.floats(), total.floats(), true});
    EXPECT_NEAR(total.get(0, 0), expected, 1e-3);
    run_on_host(workers, Sum{count, x.floats(), total.floats(), false});
    EXPECT_NEAR(total.get(0, 0), expected - 2.5, 1e-3);
    EXPECT_TRUE(total.canaries_intact());
  }
}

TEST(SquaredNorm, HasOnePartialPerChunkOfTheTensor) {
  Workers workers(2);
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, 3 * kNormChunk + 5}) {
    for (const DType dtype : kBothTypes) {
      Tensor x(1, count, dtype);
      x.randomize(1);
      std::vector<double> expected(static_cast<std::size_t>(norm_chunks(count)));
      for (std::int64_t i = 0; i < count; ++i) {
        expected[static_cast<std::size_t>(i / kNormChunk)] += x.get(0, i) * x.get(0, i);
      }
      std::vector<double> partials(expected.size() + 1, -7.0);
      run_on_host(workers, SquaredNorm{count, x.data(), partials.data(), dtype});
      EXPECT_EQ(partials.back(), -7.0) << "wrote one too many";
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(partials[i], expected[i], 1e-12 * expected[i]);
      }
    }
  }
}

NormResult finished(const std::vector<double>& partials, float clip) {
  Workers workers(1);
  NormResult result{};
  run_on_host(workers, FinishNorm{std::ssize(partials), partials.data(), clip, &result});
  return result;
}

TEST(FinishNorm, ScalesAsClipGradNormDoesAndNeverUp) {
  EXPECT_FLOAT_EQ(finished({9.0, 16.0}, 0).norm, 5.0F);
  EXPECT_FLOAT_EQ(finished({9.0, 16.0}, 0).scale, 1.0F);
  EXPECT_FLOAT_EQ(finished({9.0, 16.0}, 1.0F).scale, 1.0F / (5.0F + 1e-6F));
  EXPECT_FLOAT_EQ(finished({9.0, 16.0}, 10.0F).scale, 1.0F);
  EXPECT_EQ(finished({}, 1.0F).norm, 0.0F);
}

TEST(FinishNorm, SeesNanInfinityAndOverflow) {
  EXPECT_EQ(finished({1.0}, 1.0F).finite, 1);
  EXPECT_EQ(finished({1.0, std::nan("")}, 1.0F).finite, 0);
  EXPECT_EQ(finished({std::numeric_limits<double>::infinity()}, 1.0F).finite, 0);
  EXPECT_EQ(finished({1e80}, 1.0F).finite, 0);
  EXPECT_EQ(finished({1.0, 2.0}, 1.0F).bad_partial, 0);
  EXPECT_EQ(finished({std::nan(""), 1.0, std::nan(""), 1.0}, 1.0F).bad_partial, 3);
}

std::uint64_t digest_of(const Tensor& from, std::int64_t begin, std::int64_t end) {
  Workers workers(2);
  Tensor part(1, end - begin, from.dtype());
  for (std::int64_t i = begin; i < end; ++i) part.set(0, i - begin, from.get(0, i));
  std::uint64_t digest = 0;
  run_on_host(workers, Digest{.count = end - begin,
                              .x = part.data(),
                              .dtype = from.dtype(),
                              .salt = 5,
                              .first = begin,
                              .digest = &digest});
  return digest;
}

TEST(Digest, DoesNotDependOnHowATensorIsCut) {
  for (const DType dtype : kBothTypes) {
    Tensor x(1, 200001, dtype);
    x.randomize(1);
    const std::uint64_t whole = digest_of(x, 0, 200001);
    EXPECT_EQ(digest_of(x, 0, 7) + digest_of(x, 7, 99999) + digest_of(x, 99999, 200001), whole);
  }
}

TEST(Digest, ChangesWhenTwoElementsChangePlaces) {
  Tensor x(1, 100);
  x.randomize(1);
  const std::uint64_t before = digest_of(x, 0, 100);
  const double kept = x.get(0, 3);
  x.set(0, 3, x.get(0, 80));
  x.set(0, 80, kept);
  EXPECT_NE(digest_of(x, 0, 100), before);
}

}  // namespace
}  // namespace sluice

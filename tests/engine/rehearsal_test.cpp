// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What libraries choose by shape is chosen before the first step: a rehearsal names every product
// and every attention that steps run, with the arguments they run with.

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

namespace sluice {
namespace {

constexpr ModelShape kShape{.family = Family::kGpt2,
                            .layers = 3,
                            .width = 32,
                            .heads = 2,
                            .kv_heads = 2,
                            .head_width = 16,
                            .ffn_width = 128,
                            .vocabulary = 64,
                            .context = 16};

using Product = std::tuple<std::int64_t, std::int64_t, std::int64_t, const void*, const void*,
                           const void*, const void*, bool>;

Product product(const Matmul& a) { return {a.m, a.n, a.k, a.a, a.b, a.c, a.bias, a.accumulate}; }

// Kernels are plain functions: what they saw is here. One test runs at a time.
struct Seen {
  std::vector<Product> products;
  std::vector<const void*> queries, query_gradients;

  bool operator==(const Seen&) const = default;
};
Seen rehearsed;
Seen first_step;
bool recording = false;

KernelTable rehearsing() {
  KernelTable table = idle_kernels();
  table.matmul = [](Queue&, const Matmul& a) { rehearsed.products.push_back(product(a)); };
  table.attention = [](Queue&, const Attention& a) { rehearsed.queries.push_back(a.q); };
  table.attention_backward = [](Queue&, const AttentionBackward& b) {
    rehearsed.query_gradients.push_back(b.dq);
  };
  return table;
}

TEST(Rehearsal, NamesWhatTheFirstStepRuns) {
  rehearsed = first_step = {};
  const KernelTable rehearsal = rehearsing();
  KernelTable kernels = kernels_for("host");
  kernels.rehearsal = &rehearsal;
  kernels.matmul = [](Queue& queue, const Matmul& a) {
    if (recording) first_step.products.push_back(product(a));
    kernels_for("host").matmul(queue, a);
  };
  kernels.attention = [](Queue& queue, const Attention& a) {
    if (recording) first_step.queries.push_back(a.q);
    kernels_for("host").attention(queue, a);
  };
  kernels.attention_backward = [](Queue& queue, const AttentionBackward& b) {
    if (recording) first_step.query_gradients.push_back(b.dq);
    kernels_for("host").attention_backward(queue, b);
  };
  const Model model = make_model(kShape, {.global_batch = 2, .length = 16});
  const Workload workload = model.workload(1);
  const CostModel costs(test_machine(), workload);
  const Program program =
      build_training(workload, resident_placement(workload, /*deferred=*/true), costs);
  RunOptions options{.steps = 1};
  options.kernels = &kernels;
  options.initial = [&](int flat, std::int64_t first, std::span<float> out) {
    initial_values(workload, kShape, flat, first, out, 7);
  };
  options.at_start = [](const Program&, const Memory&) { recording = true; };
  run_training(workload, program, model.layers, kShape.vocabulary, options);
  recording = false;

  EXPECT_GT(rehearsed.products.size(), 20U);
  EXPECT_EQ(rehearsed.queries.size(), 6U);
  EXPECT_EQ(rehearsed.query_gradients.size(), 6U);
  EXPECT_EQ(rehearsed, first_step);
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Real models under random placements: the same bits as everything resident, run
// one operation at a time.

#include <gtest/gtest.h>

#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

namespace sluice {
namespace {

ModelShape ragged(Family family, bool tied) {
  ModelShape shape{.family = family,
                   .layers = 3,
                   .width = 72,
                   .heads = 3,
                   .kv_heads = family == Family::kLlama ? 1 : 3,
                   .head_width = 24,
                   .ffn_width = family == Family::kLlama ? 200 : 288,
                   .vocabulary = 257,
                   .context = 64,
                   .tied = tied};
  if (family == Family::kLlama) {
    shape.bias = false;
    shape.qkv_bias = true;
  }
  return shape;
}

void expect_same_bits(const ModelShape& shape, DType dtype, unsigned seeds) {
  for (unsigned seed = 0; seed < seeds; ++seed) {
    std::mt19937 random(seed * 31 + (shape.tied ? 1 : 0));
    const int groups = 1 << (random() % 3);
    const Model model =
        make_model(shape, {.dtype = dtype,
                           .gradient = random() % 2 == 0 ? dtype : DType::kFloat32,
                           .moments = random() % 3 == 0 ? DType::kBFloat16 : DType::kFloat32,
                           .global_batch = 4,
                           .length = 49,
                           .groups = groups});
    const Workload workload = model.workload(1);
    const CostModel costs(test_machine(), workload);
    Placement placement = random_placement(workload, random);
    placement.digest = true;
    Placement resident = resident_placement(workload, placement.deferred);
    resident.digest = true;
    RunOptions options{.steps = 3};
    options.clip = placement.deferred ? 1.0F : 0.0F;
    options.initial = [&](int flat, std::int64_t first, std::span<float> out) {
      initial_values(workload, shape, flat, first, out, 7);
    };
    RunOptions placed = options;
    options.serial = true;
    placed.threads = std::array{1, 2, 3, 4, 8}[random() % 5];
    placed.io = random() % 2 == 0 ? StorageBackend::kUring : StorageBackend::kThreads;

    const RunResult expected = run_training(workload, build_training(workload, resident, costs),
                                            model.layers, 257, options);
    const RunResult got = run_training(workload, build_training(workload, placement, costs),
                                       model.layers, 257, placed);

    ASSERT_EQ(got.losses, expected.losses) << "seed " << seed;
    ASSERT_EQ(got.digests, expected.digests) << "seed " << seed;
    for (std::size_t i = 0; i < got.state.size(); ++i) {
      ASSERT_EQ(got.state[i].digest, expected.state[i].digest)
          << "seed " << seed << ": " << name_of(got.state[i].part) << " of " << got.state[i].tensor;
    }
  }
}

TEST(Models, Gpt2TiedGivesTheSameBitsInEveryPlacement) {
  expect_same_bits(ragged(Family::kGpt2, true), DType::kFloat32, 10);
}
TEST(Models, Gpt2UntiedGivesTheSameBitsInBf16) {
  expect_same_bits(ragged(Family::kGpt2, false), DType::kBFloat16, 10);
}
TEST(Models, LlamaUntiedGivesTheSameBitsInEveryPlacement) {
  expect_same_bits(ragged(Family::kLlama, false), DType::kFloat32, 10);
}
TEST(Models, LlamaTiedGivesTheSameBitsInBf16) {
  expect_same_bits(ragged(Family::kLlama, true), DType::kBFloat16, 10);
}

// The plan's graph of memory is what runs: every row of time in one place.
TEST(Models, TheMicroBatchesOfAWaveDoNotChangeTheLoss) {
  const ModelShape shape = ragged(Family::kGpt2, true);
  const Model model = make_model(shape, {.global_batch = 4, .length = 49});
  const Workload workload = model.workload(1);
  const CostModel costs(test_machine(), workload);
  std::vector<double> first;
  for (const int wave : {1, 2, 3, 4}) {
    Placement placement = resident_placement(workload, true);
    placement.wave = wave;
    RunOptions options{.steps = 2};
    options.initial = [&](int flat, std::int64_t at, std::span<float> out) {
      initial_values(workload, shape, flat, at, out, 7);
    };
    const RunResult result = run_training(workload, build_training(workload, placement, costs),
                                          model.layers, 257, options);
    if (first.empty()) first = result.losses;
    EXPECT_EQ(result.losses, first) << "wave " << wave;
  }
}

}  // namespace
}  // namespace sluice

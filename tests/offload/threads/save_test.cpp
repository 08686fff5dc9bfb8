// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What save operations give while steps go on.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/matrix_layers.h"
#include "tests/support/run_program.h"
#include "tests/support/saved_states.h"

namespace sluice {
namespace {

MatrixWorkloadOptions random_options(std::mt19937& random) {
  MatrixWorkloadOptions options;
  options.micro_batches = 1 << (random() % 3);
  options.tied = random() % 2 == 0;
  options.blocks = 1 + static_cast<int>(random() % 4);
  options.width = 24 + static_cast<std::int64_t>(random() % 80);
  options.compute = random() % 2 == 0 ? DType::kFloat32 : DType::kBFloat16;
  return options;
}

Workload random_workload(const MatrixWorkloadOptions& options, std::mt19937& random) {
  Workload workload = matrix_workload(options);
  if (random() % 3 == 0) workload.moments = DType::kBFloat16;
  return workload;
}

TEST(Save, EveryRandomPlacementSavesTheBytesOfTheResidentOneAtEveryStep) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const MatrixWorkloadOptions options = random_options(random);
    const Workload workload = random_workload(options, random);
    const auto layers = matrix_layers(options);
    const CostModel costs(test_machine(), workload);
    Placement placement = random_placement(workload, random);
    placement.save = true;
    Placement home = resident_placement(workload, true);
    home.save = true;
    SavedStates expected(workload), got(workload);

    const RunResult resident = run_training(workload, build_training(workload, home, costs), layers,
                                            40, {.steps = 4, .serial = true, .sink = &expected});
    const RunResult placed =
        run_training(workload, build_training(workload, placement, costs), layers, 40,
                     {.threads = 1 + static_cast<int>(random() % 3), .steps = 4, .sink = &got});

    ASSERT_EQ(expected.bytes(), got.bytes()) << "seed " << seed;
    ASSERT_EQ(got.ended(), (std::vector<std::int64_t>{1, 2, 3, 4})) << "seed " << seed;
    ASSERT_EQ(resident.state, placed.state) << "seed " << seed;
  }
}

TEST(Save, GivesTheStateThatTheRunEndsWith) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, true);
  placement.save = true;
  SavedStates saved(workload, [](std::int64_t step) { return step == 3; });

  const RunResult run = run_training(workload, build_training(workload, placement, costs),
                                     matrix_layers(options), 40, {.sink = &saved});

  const auto states = saved.bytes();
  EXPECT_EQ(saved.ended(), std::vector<std::int64_t>{3});
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    for (std::size_t t = 0; t < workload.flats[f].tensors.size(); ++t) {
      const TensorSpec& tensor = workload.flats[f].tensors[t];
      const auto& bytes = states.at({3, static_cast<int>(f), t, StatePart::kMaster});
      ASSERT_EQ(bytes.size(), static_cast<std::size_t>(4 * tensor.count));
      EXPECT_EQ(std::memcmp(bytes.data(), run.masters[f].data() + tensor.offset, bytes.size()), 0)
          << tensor.name;
    }
  }
}

// A sink that takes longer than the steps do holds them up, and gets what it asked for.
TEST(Save, ASlowSinkStillGetsTheStateOfTheStep) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const auto layers = matrix_layers(options);
  const CostModel costs(test_machine(), workload);
  for (const bool deferred : {true, false}) {
    Placement placement = resident_placement(workload, deferred);
    placement.states.assign(workload.flats.size(), Tier::kHost);
    placement.adam_on_device.assign(workload.flats.size(), false);
    placement.save = true;
    const Program program = build_training(workload, placement, costs);
    const auto every_other = [](std::int64_t step) { return step % 2 == 0; };
    SavedStates quick(workload, every_other), slow(workload, every_other);
    run_training(workload, program, layers, 40, {.steps = 6, .serial = true, .sink = &quick});
    run_training(workload, program, layers, 40,
                 {.steps = 6,
                  .before =
                      [&](std::size_t operation, std::int64_t) {
                        if (program.operations[operation].lane == Lane::kSave) {
                          std::this_thread::sleep_for(std::chrono::milliseconds(10));
                        }
                      },
                  .sink = &slow});
    EXPECT_EQ(quick.bytes(), slow.bytes());
    EXPECT_EQ(slow.ended(), (std::vector<std::int64_t>{2, 4, 6}));
  }
}

// Never says that a state is safe.
class Waiting final : public StateSink {
 public:
  bool wants(std::int64_t) override { return false; }
  void write(std::int64_t, const StatePiece&) override {}
  void end(std::int64_t) override {}
  void wait_until_safe(std::int64_t) override { abandoned_.wait(false); }
  void abandon() noexcept override {
    abandoned_ = true;
    abandoned_.notify_all();
  }

 private:
  std::atomic<bool> abandoned_{false};
};

TEST(Save, ARunThatFailsEndsThoughItsSinkHeldItUp) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const CostModel costs(test_machine(), workload);
  Placement placement = resident_placement(workload, /*deferred=*/false);
  placement.save = true;
  const Program program = build_training(workload, placement, costs);
  Waiting sink;
  const auto fails_in_step_2 = [&](std::size_t operation, std::int64_t step) {
    const bool computes = program.operations[operation].lane == Lane::kCompute;
    if (computes && step == 2) throw Error(ErrorKind::kIo, "in step 2");
  };
  EXPECT_THROW(run_training(workload, program, matrix_layers(options), 40,
                            {.before = fails_in_step_2, .sink = &sink}),
               Error);
}

}  // namespace
}  // namespace sluice

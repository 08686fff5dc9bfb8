// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/execute.h"

#include <gtest/gtest.h>

#include "tests/support/matrix_layers.h"
#include "tests/support/run_program.h"
#include "tests/support/saved_states.h"

namespace sluice {
namespace {

void expect_same(const RunResult& a, const RunResult& b, unsigned seed) {
  ASSERT_EQ(a.losses, b.losses) << "seed " << seed;
  ASSERT_EQ(a.norms, b.norms) << "seed " << seed;
  ASSERT_EQ(a.state.size(), b.state.size());
  for (std::size_t i = 0; i < a.state.size(); ++i) {
    ASSERT_EQ(a.state[i].digest, b.state[i].digest)
        << "seed " << seed << ": " << name_of(a.state[i].part) << " of " << a.state[i].tensor;
  }
}

TEST(Execute, EveryRandomPlacementGivesTheBitsOfTheResidentOne) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    const MatrixWorkloadOptions options = random_options(random);
    const Workload workload = matrix_workload(options);
    const auto layers = matrix_layers(options);
    const CostModel costs(test_machine(), workload);
    Placement placement = random_placement(workload, random);
    placement.digest = true;
    // Updated after backward, whenever the other one is.
    Placement home = resident_placement(workload, true);
    home.digest = true;
    const auto vocabulary = static_cast<int>(options.vocabulary);
    const RunOptions how{
        .threads = 1 + static_cast<int>(random() % 3),
        .io = random() % 2 == 0 ? StorageBackend::kUring : StorageBackend::kThreads};

    const RunResult resident = run_training(workload, build_training(workload, home, costs), layers,
                                            vocabulary, {.serial = true});
    const RunResult placed =
        run_training(workload, build_training(workload, placement, costs), layers, vocabulary, how);

    expect_same(placed, resident, seed);
    ASSERT_EQ(placed.digests, resident.digests) << "seed " << seed;
    ASSERT_EQ(placed.digests.size(), 3U);
  }
}

TEST(Execute, AStepIsKnownToBeTheLastWhenItsLastLossIsThereAndTakesAsLongAsItsCalls) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const MatrixWorkloadOptions options = random_options(random);
    const Workload workload = matrix_workload(options);
    const auto layers = matrix_layers(options);
    const CostModel costs(test_machine(), workload);
    const Program program = build_training(workload, random_placement(workload, random), costs);
    const auto index_where = [&](auto is) {
      return static_cast<std::size_t>(std::ranges::find_if(program.operations, is) -
                                      program.operations.begin());
    };
    const std::size_t prepare =
        index_where([](const Operation& o) { return o.kind == OperationKind::kPrepare; });
    const std::size_t loss = index_where([&](const Operation& o) {
      return o.kind == OperationKind::kBackward && o.layer + 1 == std::ssize(workload.layers) &&
             o.micro_batch + 1 == workload.micro_batches;
    });

    const RunResult result =
        run_training(workload, program, layers, static_cast<int>(options.vocabulary), {});

    ASSERT_EQ(result.timelines.size(), 3U);
    for (const Timeline& timeline : result.timelines) {
      EXPECT_GE(timeline.spans[prepare].start, timeline.spans[loss].end);
      if (&timeline == result.timelines.data()) continue;
      const LaneUse compute = lane_use(program, timeline)[index_of(Lane::kCompute)];
      EXPECT_LE(compute.busy_seconds, timeline.step_seconds * (1 + 1e-9));
    }
  }
}

// Weight, master and both moments of every flat parameter, some bit of some element of each.
TEST(Execute, OneFlippedBitChangesTheDigestOfItsTensorAlone) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const CostModel costs(test_machine(), workload);
  const Program program = build_training(workload, resident_placement(workload, true), costs);
  const auto layers = matrix_layers(options);
  const RunResult right = run_training(workload, program, layers, 40, {});
  std::mt19937 random(5);
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const FlatHomes& homes = program.homes[f];
    const std::int64_t elements = std::min(homes.segment_elements, workload.flats[f].count);
    const SegmentLayout layout = segment_layout(homes.segment_elements, workload.moments);
    const std::array<std::pair<BufferId, Bytes>, 4> places = {
        {{homes.weight, {}},
         {homes.state, {}},
         {homes.state, layout.first_moment},
         {homes.state, layout.second_moment}}};
    for (const auto& [buffer, begin] : places) {
      const std::int64_t element = random() % elements;
      const unsigned bit = random() % 32;
      const auto flip = [&, id = buffer, at = begin](const Program& p, const Memory& memory) {
        const Bytes offset = p.buffers[static_cast<std::size_t>(id)].offset + at;
        memory.device[offset.value + 4 * element + bit / 8] ^= std::byte{1} << (bit % 8);
      };
      const RunResult wrong = run_training(workload, program, layers, 40, {.at_rest = flip});
      int changed = 0;
      for (std::size_t i = 0; i < right.state.size(); ++i) {
        changed += right.state[i].digest != wrong.state[i].digest ? 1 : 0;
      }
      EXPECT_EQ(changed, 1) << workload.flats[f].name << ", element " << element << ", bit " << bit;
    }
  }
}

TEST(Execute, LearnsAndReportsEveryStep) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const CostModel costs(test_machine(), workload);
  const Program program = build_training(workload, resident_placement(workload, true), costs);

  const RunResult result =
      run_training(workload, program, matrix_layers(options), 40, {.steps = 60, .clip = 1.0F});

  ASSERT_EQ(result.losses.size(), 60U);
  ASSERT_EQ(result.timelines.size(), 60U);
  EXPECT_LT(result.losses.back(), 0.7 * result.losses.front());
}

TEST(Execute, TouchesExactlyWhatThePlanSays) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    const MatrixWorkloadOptions options = random_options(random);
    const Workload workload = matrix_workload(options);
    const CostModel costs(test_machine(), workload);
    const Program program = build_training(workload, random_placement(workload, random), costs);
    SavedStates saved(workload);

    const RunResult result =
        run_training(workload, program, matrix_layers(options), 40, {.sink = &saved});

    for (const Tier tier : kTiers) {
      EXPECT_EQ(round_up(result.touched[index_of(tier)], Bytes{4096}),
                program.extent[index_of(tier)])
          << "seed " << seed << " tier " << name_of(tier);
    }
  }
}

TEST(Execute, AFailureStopsAllLanesAndNamesTheOperation) {
  const MatrixWorkloadOptions options;
  const Workload workload = matrix_workload(options);
  const CostModel costs(test_machine(), workload);
  std::mt19937 random(5);
  const Program program = build_training(workload, random_placement(workload, random), costs);
  try {
    run_training(
        workload, program, matrix_layers(options), 40,
        {.before = [&](std::size_t operation, std::int64_t step) {
          if (step == 2 && program.operations[operation].kind == OperationKind::kBackward) {
            throw Error(ErrorKind::kIo, "planted");
          }
        }});
    FAIL() << "ran to the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_NE(std::string(error.what()).find("planted (backward head"), std::string::npos)
        << error.what();
  }
}

// Overwrites what its queue was lent, as a kernel's library would.
class UsesScratch final : public LayerProgram {
 public:
  UsesScratch(std::unique_ptr<LayerProgram> layer, Bytes expected)
      : layer_(std::move(layer)), expected_(expected) {}

  void forward(const LayerCall& call) const override {
    overwrite(call.queue);
    layer_->forward(call);
  }
  void backward(const LayerCall& call) const override {
    overwrite(call.queue);
    layer_->backward(call);
  }

 private:
  void overwrite(Queue& queue) const {
    const Scratch scratch = queue.scratch();
    EXPECT_EQ(scratch.size, expected_);
    if (scratch.size.value == 0) return;
    kernels_for("host").fill_zero(queue, {.to = scratch.data, .size = scratch.size});
  }

  std::unique_ptr<LayerProgram> layer_;
  Bytes expected_;
};

TEST(Execute, TheScratchOfTheComputingQueueIsCountedAndNobodyElses) {
  constexpr Bytes kScratch{1 << 20};
  const MatrixWorkloadOptions options;
  std::array<RunResult, 2> results;
  std::array<Bytes, 2> device;
  for (const std::size_t with : {0U, 1U}) {
    Workload workload = matrix_workload(options);
    workload.queue_scratch = with == 1 ? kScratch : Bytes{};
    auto layers = matrix_layers(options);
    for (auto& layer : layers) {
      layer = std::make_unique<UsesScratch>(std::move(layer), workload.queue_scratch);
    }
    const CostModel costs(test_machine(), workload);
    const Program program = build_training(workload, resident_placement(workload, true), costs);
    device[with] = program.extent[index_of(Tier::kDevice)];
    results[with] =
        run_training(workload, program, layers, static_cast<int>(options.vocabulary), {});
  }
  EXPECT_EQ(device[1] - device[0], kScratch);
  expect_same(results[1], results[0], 0);
}

}  // namespace
}  // namespace sluice

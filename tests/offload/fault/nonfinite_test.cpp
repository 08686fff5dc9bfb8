// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// A number that is not finite, planted in a gradient, an activation or a weight while a step
// runs: seen in that step, and no state is written that it touched.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/matrix_layers.h"
#include "tests/support/run_program.h"

namespace sluice {
namespace {

constexpr int kBlocks = 3;

struct Place {
  Access access;          // what the operation reads
  std::size_t operation;  // before which it is planted
};

// Operands of one kind that operations of this step's stage read on the device, in fp32.
std::vector<Place> places(const Program& program, const std::string& kind) {
  std::vector<Place> found;
  for (std::size_t i = 0; i < program.operations.size(); ++i) {
    const Operation& o = program.operations[i];
    const auto add = [&](std::size_t operand) {
      const Access& access = program.accesses[o.first_access + operand];
      if (operand < o.access_count && access.exists()) found.push_back({access, i});
    };
    // Of the blocks: not every row of the embedding is used.
    const bool layer = (o.kind == OperationKind::kForward || o.kind == OperationKind::kBackward) &&
                       o.layer > 0 && o.layer <= kBlocks;
    if (kind == "gradient" && o.kind == OperationKind::kRound) add(RoundOperands::kAccumulator);
    if (kind == "weight" && layer) add(LayerOperands::kWeights);
    if (kind == "activation" && layer) add(LayerOperands::kInput);
    if (kind == "activation" && layer) add(LayerOperands::kOutputGradient);
  }
  return found;
}

class NonFinite : public testing::Test {
 protected:
  // Runs to `last`, one operation at a time; plants a value in its step, if any.
  RunResult run(const Program& program, int last, const Place* place, float value,
                std::uint32_t draw) {
    std::byte* device = nullptr;
    RunOptions options{.steps = last, .serial = true, .clip = 1.0F};
    options.at_start = [&](const Program&, const Memory& memory) { device = memory.device; };
    options.before = [&](std::size_t operation, std::int64_t step) {
      if (place == nullptr || step != last || operation != place->operation) return;
      const Buffer& buffer = program.buffers[static_cast<std::size_t>(place->access.buffer)];
      const std::int64_t floats = std::min<std::int64_t>(place->access.size.value / 4, 24);
      std::memcpy(device + buffer.offset.value + place->access.begin.value + 4 * (draw % floats),
                  &value, 4);
    };
    return run_training(workload_, program, layers_, 40, options);
  }

  // Homes off the device, so that updates pass through buffers that others used before.
  Placement placement(bool deferred, bool adam_on_device) {
    Placement p = resident_placement(workload_, deferred);
    p.weights.assign(p.weights.size(), Tier::kHost);
    p.states.assign(p.states.size(), Tier::kStorage);
    p.adam_on_device.assign(p.adam_on_device.size(), adam_on_device);
    p.ring_slots = 2;  // fewer than flat parameters: each slot is used again within a step
    return p;
  }

  MatrixWorkloadOptions options_;
  Workload workload_ = matrix_workload(options_);
  std::vector<std::unique_ptr<LayerProgram>> layers_ = matrix_layers(options_);
  CostModel costs_{test_machine(), workload_};
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kValues[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};

TEST_F(NonFinite, DeferredUpdatesLeaveTheStateOfTheStepBefore) {
  for (const bool adam_on_device : {false, true}) {
    const Program program = build_training(workload_, placement(true, adam_on_device), costs_);
    const RunResult before = run(program, 1, nullptr, 0, 0);
    for (const char* kind : {"gradient", "activation", "weight"}) {
      const std::vector<Place> all = places(program, kind);
      ASSERT_FALSE(all.empty()) << kind;
      for (std::size_t i = 0; i < 34; ++i) {
        const Place& place = all[i * 7 % all.size()];
        const float value = kValues[i % 3];
        const RunResult result = run(program, 2, &place, value, static_cast<std::uint32_t>(5 * i));
        ASSERT_EQ(result.norms.size(), 2U);
        ASSERT_FALSE(std::isfinite(result.norms[1]))
            << kind << " " << i << ": " << value << " before operation " << place.operation;
        ASSERT_TRUE(result.state == before.state)
            << kind << " " << i << ": " << value << " before operation " << place.operation;
      }
    }
  }
}

TEST_F(NonFinite, UpdatesDuringBackwardLeaveTheFlatParameterThatItIsIn) {
  const Program program = build_training(workload_, placement(false, false), costs_);
  const RunResult before = run(program, 1, nullptr, 0, 0);
  const std::vector<Place> all = places(program, "gradient");
  ASSERT_GE(all.size(), workload_.flats.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto flat = static_cast<std::size_t>(program.operations[all[i].operation].flat);
    const RunResult result = run(program, 2, &all[i], kValues[i % 3], 3);
    ASSERT_FALSE(std::isfinite(result.norms[1])) << i;
    std::size_t changed = 0;
    for (std::size_t t = 0; t < before.state.size(); ++t) {
      const bool same = result.state[t] == before.state[t];
      const auto& tensors = workload_.flats[flat].tensors;
      const bool in_it = std::any_of(tensors.begin(), tensors.end(), [&](const TensorSpec& one) {
        return one.name == before.state[t].tensor;
      });
      ASSERT_TRUE(same || !in_it) << before.state[t].tensor;
      changed += same ? 0U : 1U;
    }
    EXPECT_GT(changed, 0U) << "the other layers are updated, or this shows nothing";
  }
}

}  // namespace
}  // namespace sluice

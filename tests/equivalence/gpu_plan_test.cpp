// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Schedules that were made for GPUs, carried out on the host device: what a machine file says
// decides what runs, and must not change a bit of what is learned.

#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <string>

#include "devices/machine_file.h"
#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "offload/plan.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

namespace sluice {
namespace {

constexpr ModelShape kShape{.family = Family::kGpt2,
                            .layers = 4,
                            .width = 64,
                            .heads = 2,
                            .kv_heads = 2,
                            .head_width = 32,
                            .ffn_width = 256,
                            .vocabulary = 256,
                            .context = 32};

class GpuPlan : public testing::TestWithParam<const char*> {};

TEST_P(GpuPlan, TrainsOnTheHostToTheBitsOfTheResidentModel) {
  const Machine machine =
      load_machine(std::filesystem::path(SLUICE_SOURCE_DIR) / "configs/machines" / GetParam());
  const Bytes scratch = queue_scratch_for(machine.device);
  const Model model = make_model(kShape, {.dtype = DType::kFloat32,
                                          .gradient = DType::kFloat32,
                                          .global_batch = 4,
                                          .length = 32,
                                          .device = machine.device});
  const Workload workload = model.workload(1);
  const CostModel costs(machine, workload);
  const Program resident = build_training(workload, resident_placement(workload, true), costs);
  const Bytes all = resident.extent[index_of(Tier::kDevice)];
  EXPECT_GT(all, scratch);
  // Half of what the model wants of the device beside the scratch, a quarter on the host.
  const TierLimits limits{
      .capacity = {scratch + Bytes{(all - scratch).value / 2}, Bytes{(all - scratch).value / 4},
                   Bytes{std::int64_t{1} << 30}},
      .source = {"device", "host", "storage"}};
  PlanRequest request{.sequences = 1, .global_batch = 4};
  request.digest = true;

  const PlanResult result = make_plan(model, request, limits, machine);

  ASSERT_TRUE(std::holds_alternative<Plan>(result));
  const Plan& plan = std::get<Plan>(result);
  EXPECT_LE(plan.tiers[index_of(Tier::kDevice)].peak, limits.capacity[0]);
  EXPECT_GT(plan.program.lane_size[index_of(Lane::kHostToDevice)], 1);
  RunOptions options{.steps = 3};
  options.initial = [&](int flat, std::int64_t first, std::span<float> out) {
    initial_values(workload, kShape, flat, first, out, 7);
  };
  const RunResult streamed = run_training(plan.workload, plan.program, model.layers, 256, options);
  options.serial = true;
  const RunResult right = run_training(workload, resident, model.layers, 256, options);
  EXPECT_EQ(streamed.losses, right.losses);
  ASSERT_EQ(streamed.state.size(), right.state.size());
  for (std::size_t i = 0; i < right.state.size(); ++i) {
    EXPECT_EQ(streamed.state[i].digest, right.state[i].digest) << right.state[i].tensor;
  }
}

INSTANTIATE_TEST_SUITE_P(Machines, GpuPlan,
                         testing::Values("h200.toml", "h100-80gb.toml", "a100-80gb.toml",
                                         "rtx-4090.toml", "l40s.toml"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase_if(name, [](unsigned char c) { return !std::isalnum(c); });
                           return name;
                         });

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What configs/ holds is what the program reads: every file loads, and means what
// its name and its README say.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "devices/machine_file.h"
#include "engine/config/load_config.h"
#include "engine/run/train.h"

namespace sluice {
namespace {

const std::filesystem::path kConfigs = std::filesystem::path(SLUICE_SOURCE_DIR) / "configs";

int for_each_toml(const std::filesystem::path& folder, void (*body)(const std::filesystem::path&)) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path());
    EXPECT_NO_THROW(body(entry.path()));
    ++count;
  }
  return count;
}

TEST(Configs, EveryRunConfigLoadsAndCanTrain) {
  EXPECT_GE(for_each_toml(kConfigs,
                          [](const auto& path) { check_trainable(load_config(path, {}).config); }),
            2);
}

TEST(Configs, TheBenchmarkOfOverlapLoads) {
  EXPECT_NO_THROW(check_trainable(
      load_config(kConfigs.parent_path() / "tests" / "bench" / "overlap.toml", {}).config));
}

TEST(Configs, EveryShapeLoads) {
  EXPECT_GE(for_each_toml(kConfigs / "shapes", [](const auto& path) { load_config(path, {}); }), 5);
}

TEST(Configs, EveryMachineFileLoads) {
  EXPECT_GE(for_each_toml(
                kConfigs / "machines",
                [](const auto& path) { EXPECT_EQ(load_machine(path).provenance, "published"); }),
            5);
}

TEST(Configs, EveryFileIsNamedInItsReadme) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kConfigs)) {
    if (entry.path().extension() != ".toml") continue;
    std::ifstream readme(entry.path().parent_path() / "README.md");
    const std::string text(std::istreambuf_iterator<char>(readme), {});
    EXPECT_NE(text.find(entry.path().filename().string()), std::string::npos) << entry.path();
  }
}

TEST(Configs, ShakespeareIsThePublicReference) {
  const RunConfig config = load_config(kConfigs / "shakespeare.toml", {}).config;
  EXPECT_EQ(config.model.shape.layers, 4);
  EXPECT_EQ(config.model.shape.width, 128);
  EXPECT_EQ(config.data.seq_len, 64);
  EXPECT_EQ(config.train.global_batch, 12);
  EXPECT_EQ(config.train.steps, 2000);
  EXPECT_FALSE(config.model.shape.bias);
  EXPECT_TRUE(config.model.shape.tied);
}

// 12 width^2 a block; the quick start promises at least 6 M, and weights that do
// not fit on the device.
TEST(Configs, QuickStartOverflowsItsDevice) {
  const RunConfig config = load_config(kConfigs / "quickstart.toml", {}).config;
  const ModelShape& shape = config.model.shape;
  const std::int64_t parameters = shape.layers * 12 * shape.width * shape.width;
  EXPECT_GE(parameters, 6'000'000);
  ASSERT_TRUE(config.limits.device.has_value());
  EXPECT_GT(bytes_of(config.train.dtype, parameters), *config.limits.device);
}

// Device, host and storage all hold a part of what is trained.
TEST(Configs, QuickStartUsesAllThreeTiers) {
  const RunConfig config = load_config(kConfigs / "quickstart.toml", {}).config;
  const PlannedRun planned = plan_run(config, {}, SLUICE_BINARY_DIR, true);
  ASSERT_TRUE(std::holds_alternative<Plan>(planned.result));
  const Plan& plan = std::get<Plan>(planned.result);
  EXPECT_GE(plan.workload.parameters(), 6'000'000);
  for (const Tier tier : kTiers) {
    const auto& roles = plan.tiers[index_of(tier)].by_role;
    EXPECT_GT(roles[index_of(Role::kWeight)].value + roles[index_of(Role::kState)].value, 0)
        << name_of(tier);
  }
}

}  // namespace
}  // namespace sluice

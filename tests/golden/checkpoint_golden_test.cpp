// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Checkpoints that were committed when their version was the newest: every later build goes on
// from them. tests/data/README.md says how they are made.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tests/engine/fault/killed_run.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr int kStep = 2;

struct KeptCheckpoint {
  int version;
  std::map<int, std::string> digests;  // of the steps behind it
};
const KeptCheckpoint kKept[] = {{1, {{3, "b18bb3941dd60c4e"}, {4, "b3fab0ce4683efd6"}}}};

fs::path folder_of(const KeptCheckpoint& kept) {
  return fs::path(SLUICE_SOURCE_DIR) /
         fmt::format("tests/data/checkpoints/version_{}", kept.version);
}

void train(const KeptCheckpoint& kept, const fs::path& run_dir, int steps, bool resume) {
  const LoadedConfig config =
      load_config(folder_of(kept) / "run.toml", {{"train.steps", std::to_string(steps)}});
  sluice::train(config, {.run_dir = run_dir, .resume = resume});
}

nlohmann::json manifest_of(const fs::path& checkpoint) {
  return nlohmann::json::parse(text_of(checkpoint / "manifest.json"));
}

std::vector<std::string> keys_of(const nlohmann::json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

TEST(CheckpointGolden, OfEveryVersionARunGoesOnWithTheSameBits) {
  for (const KeptCheckpoint& kept : kKept) {
    SCOPED_TRACE(kept.version);
    const ScratchFolder scratch;
    fs::create_directories(scratch / "run/checkpoints");
    fs::copy(folder_of(kept) / "step-2", scratch / "run/checkpoints/step-2");
    train(kept, scratch / "run", 4, true);
    EXPECT_EQ(digests_of(scratch / "run"), kept.digests);
  }
}

// What is written now is what the newest version's reader was made for. A change of the format
// without another version fails here; with one, it asks for a golden of that.
TEST(CheckpointGolden, WhatIsWrittenNowIsOfTheNewestVersion) {
  const KeptCheckpoint& newest = *std::rbegin(kKept);
  const ScratchFolder scratch;
  train(newest, scratch / "run", kStep, false);
  const fs::path made = scratch / "run/checkpoints/step-2", before = folder_of(newest) / "step-2";
  for (const StatePart part : kSavedParts) {
    EXPECT_EQ(text_of(made / file_of(part)), text_of(before / file_of(part))) << file_of(part);
  }
  const nlohmann::json now = manifest_of(made), then = manifest_of(before);
  EXPECT_EQ(now.at("version"), newest.version);
  EXPECT_EQ(keys_of(now), keys_of(then));
  for (const char* same : {"format", "step", "samples", "digest", "data", "tensors"}) {
    EXPECT_EQ(now.at(same), then.at(same)) << same;
  }
}

}  // namespace
}  // namespace sluice

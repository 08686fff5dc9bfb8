// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Folders that transformers wrote (tests/data/hf, transformers_round_trip.py --fixtures):
// their loss is transformers', and an export of them is them.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/data/token_source.h"
#include "engine/run/evaluate.h"
#include "engine/run/export_model.h"
#include "engine/run/saved_model.h"
#include "tests/engine/scratch.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLength = 24;  // LENGTH of the script

fs::path fixtures() { return fs::path(SLUICE_SOURCE_DIR) / "tests/data/hf"; }

nlohmann::json expected_losses() {
  std::ifstream file(fixtures() / "losses.json");
  return nlohmann::json::parse(file);
}

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  const nlohmann::json losses = expected_losses();
  for (const auto& [name, loss] : losses.items()) names.push_back(name);
  return names;
}

double loss_of(const fs::path& folder) {
  constexpr std::int64_t kSequences = 2;
  SavedModel saved(folder, DType::kFloat32, kSequences, kLength);
  const TokenRange tokens = open_tokens({(fixtures() / "tokens.bin").string()}, TokenFormat::kBin,
                                        saved.shape().vocabulary);
  const auto pass = saved.pass(kSequences, kLength, ForwardOutput::kLosses);
  return Evaluation(pass->workload, tokens, 0).run(*pass->executor).loss;
}

class ModelFolderGolden : public testing::TestWithParam<std::string> {};

TEST_P(ModelFolderGolden, HasTheLossThatTransformersComputes) {
  const double wanted = expected_losses().at(GetParam());
  EXPECT_NEAR(loss_of(fixtures() / GetParam()), wanted, 1e-6 * wanted);
}

TEST_P(ModelFolderGolden, IsExportedBitForBitInAnyShards) {
  const ScratchFolder scratch;
  const fs::path folder = fixtures() / GetParam();
  const ExportSource source = folder_source(folder);
  export_model(source, {.out = scratch / "one"});
  export_model(folder_source(scratch / "one"), {.out = scratch / "many", .max_shard = {2000}});
  EXPECT_FALSE(fs::exists(scratch / "many/model.safetensors"));
  const ModelFolderReader from(folder);
  const ModelFolderReader to(scratch / "many");
  for (const StoredTensor& tensor : source.tensors) {
    const StoredTensor& before = from.require(tensor.name, tensor.shape);
    const StoredTensor& after = to.require(tensor.name, tensor.shape);
    ASSERT_EQ(before.dtype, after.dtype) << tensor.name;
    std::vector<std::byte> a(count(before.size));
    std::vector<std::byte> b(a.size());
    from.read_bytes(before, 0, a);
    to.read_bytes(after, 0, b);
    EXPECT_EQ(a, b) << tensor.name;
  }
  EXPECT_EQ(loss_of(scratch / "many"), loss_of(folder));
}

INSTANTIATE_TEST_SUITE_P(Folders, ModelFolderGolden, testing::ValuesIn(fixture_names()),
                         [](const auto& made) { return made.param; });

}  // namespace
}  // namespace sluice

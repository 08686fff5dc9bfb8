// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_folder.h"

#include <gtest/gtest.h>

#include "engine/config/load_config.h"
#include "engine/files/model_json.h"
#include "tests/engine/scratch.h"

namespace sluice {
namespace {

using Names = std::vector<std::string>;

ModelShape small_gpt2() {
  ModelShape shape;
  shape.layers = 1;
  shape.width = 4;
  shape.heads = shape.kv_heads = 2;
  shape.head_width = 2;
  shape.ffn_width = 8;
  shape.vocabulary = 256;
  shape.context = 16;
  return shape;
}

// A model of one tensor of four equal numbers.
void write_model(const std::filesystem::path& target, float value,
                 const ModelShape& shape = small_gpt2()) {
  ModelFolderWriter writer(target, shape, DType::kFloat32,
                           {{"transformer.wte.weight", DType::kFloat32, {2, 2}}});
  const std::vector<float> data(4, value);
  writer.write(std::as_bytes(std::span(data)));
  writer.finish();
}

float value_in(const std::filesystem::path& folder) {
  std::vector<float> out(4);
  ModelFolderReader(folder).read("transformer.wte.weight", {2, 2}, out);
  return out[3];
}

TEST(ModelFolder, AppearsWholeAndAlone) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  EXPECT_EQ(folder.names(), Names{"model"});
  EXPECT_EQ(value_in(folder / "model"), 3);
  EXPECT_TRUE(read_model_json(folder / "model") == small_gpt2());
}

TEST(ModelFolder, ANewOneTakesThePlaceOfAnOlder) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  write_model(folder / "model", 4);
  EXPECT_EQ(folder.names(), Names{"model"});
  EXPECT_EQ(value_in(folder / "model"), 4);
}

TEST(ModelFolder, UnfinishedItLeavesTheOlderOneAndNothingElse) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  {
    const ModelFolderWriter writer(folder / "model", small_gpt2(), DType::kFloat32,
                                   {{"a", DType::kFloat32, {2}}});
    EXPECT_EQ(folder.names().size(), 2U);
  }
  EXPECT_EQ(folder.names(), Names{"model"});
  EXPECT_EQ(value_in(folder / "model"), 3);
}

TEST(ModelFolder, WhatAKilledWriterLeftIsCleanedUp) {
  const ScratchFolder folder;
  folder.write(".model.partial/model.safetensors", "half");
  folder.write(".model.old/config.json", "older");
  write_model(folder / "model", 5);
  EXPECT_EQ(folder.names(), Names{"model"});
}

TEST(ModelFolder, AFolderThatCannotBeWrittenIsAnIoError) {
  const ScratchFolder folder;
  folder.write("file", "");
  expect_error(ErrorKind::kIo, {"file/model"}, [&] { write_model(folder / "file/model", 1); });
  EXPECT_EQ(folder.names(), Names{"file"});
}

TEST(ModelFolder, AGpt2WithoutBiasesGetsZerosForTransformers) {
  const ScratchFolder folder;
  ModelShape shape = small_gpt2();
  shape.bias = false;
  write_model(folder / "model", 3, shape);
  const ModelFolderReader reader(folder / "model");
  std::vector<float> bias(12, 1.0F);
  reader.read("transformer.h.0.attn.c_attn.bias", {12}, bias);
  EXPECT_EQ(bias, std::vector<float>(12));
  EXPECT_TRUE(reader.has("transformer.ln_f.bias"));
  EXPECT_FALSE(read_model_json(folder / "model").bias);
}

TEST(ModelFolder, NamesWithoutThePrefixAreFound) {
  const ScratchFolder folder;
  ModelFolderWriter writer(folder / "model", small_gpt2(), DType::kFloat32,
                           {{"wte.weight", DType::kFloat32, {1}}});
  const float one = 1;
  writer.write(std::as_bytes(std::span(&one, 1)));
  writer.finish();
  EXPECT_TRUE(ModelFolderReader(folder / "model").has("transformer.wte.weight"));
}

// GPT-2 on the hub has masks beside its weights, other models have tensors that change
// what they compute.
TEST(ModelFolder, TensorsThatNobodyReadsAreConstantsOrRefused) {
  const ScratchFolder folder;
  const auto with = [&](const std::string& other) {
    SafetensorsWriter writer(folder / "model.safetensors",
                             std::vector<TensorHeader>{{"wte.weight", DType::kFloat32, {1}},
                                                       {other, DType::kFloat32, {1}}});
    const std::vector<float> two(2);
    writer.write(std::as_bytes(std::span(two)));
    writer.finish();
    return ModelFolderReader(folder.path());
  };
  const std::vector<std::string> names = {"transformer.wte.weight"};
  for (const char* constant :
       {"h.0.attn.bias", "h.0.attn.masked_bias", "model.layers.0.self_attn.rotary_emb.inv_freq"}) {
    with(constant).check_no_others(names, /*tied=*/false);
  }
  with("lm_head.weight").check_no_others(names, /*tied=*/true);
  for (const char* other : {"lm_head.weight", "h.0.attn.q_norm.weight"}) {
    expect_error(ErrorKind::kData, {"model.safetensors", other, "no place"},
                 [&] { with(other).check_no_others(names, /*tied=*/false); });
  }
}

TEST(ModelFolder, IsWrittenInShardsNoLargerThanAskedFor) {
  const ScratchFolder folder;
  ModelFolderContent content{.shape = small_gpt2(), .max_shard = {16}};
  for (const std::string name : {"a", "b", "big", "c"}) {
    content.tensors.push_back(to_stored({name, DType::kFloat32, {name == "big" ? 8 : 2}}));
  }
  ModelFolderWriter writer(folder / "model", content);
  const std::vector<float> values = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  writer.write(std::as_bytes(std::span(values)));
  writer.finish();
  const auto shard = [&](int n) {
    return read_safetensors_header(
        folder / ("model/model-0000" + std::to_string(n) + "-of-00003.safetensors"));
  };
  EXPECT_EQ(shard(1).size(), 2U);
  EXPECT_EQ(shard(2).at(0).name, "big");
  EXPECT_EQ(shard(3).at(0).name, "c");
  std::vector<float> c(2);
  ModelFolderReader(folder / "model").read("c", {2}, c);
  EXPECT_EQ(c, (std::vector<float>{12, 13}));
}

TEST(ModelFolder, WhatStandsBesideTheWeightsComesAlong) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  folder.write("model/tokenizer.json", "{1}");
  folder.write("model/secret.txt", "not ours");
  ModelFolderWriter writer(folder / "copy",
                           {.shape = small_gpt2(), .companions = folder / "model"});
  writer.finish();
  EXPECT_EQ(text_of(folder / "copy/tokenizer.json"), "{1}");
  EXPECT_FALSE(std::filesystem::exists(folder / "copy/secret.txt"));
}

TEST(ModelFolder, ShardsAreFoundByTheirIndex) {
  const ScratchFolder folder;
  for (const std::string name : {"a", "b"}) {
    SafetensorsWriter writer(folder / (name + ".safetensors"), {{name, DType::kFloat32, {1}}});
    const float value = name == "a" ? 1.0F : 2.0F;
    writer.write(std::as_bytes(std::span(&value, 1)));
    writer.finish();
  }
  const auto index = [&](const std::string& map) {
    folder.write("model.safetensors.index.json", "{\"weight_map\": " + map + "}");
  };
  index(R"({"a": "a.safetensors", "b": "b.safetensors"})");
  float value = 0;
  ModelFolderReader(folder.path()).read("b", {1}, std::span(&value, 1));
  EXPECT_EQ(value, 2.0F);

  const auto bad = [&](const std::string& map, const std::vector<std::string>& parts) {
    index(map);
    expect_error(ErrorKind::kData, parts, [&] { ModelFolderReader reader(folder.path()); });
  };
  bad(R"({"a": "b.safetensors"})", {"tensor a is not in b.safetensors"});
  bad(R"({"a": "c.safetensors"})", {"c.safetensors", "no such file"});
  bad(R"({"a": "../a.safetensors"})", {"outside"});
  bad("5", {"weight_map"});
}

TEST(ModelFolder, MissingAndMisshapenTensorsAreNamed) {
  const ScratchFolder folder;
  expect_error(ErrorKind::kData, {"model.safetensors"},
               [&] { ModelFolderReader reader(folder.path()); });
  write_model(folder / "model", 3);
  const ModelFolderReader reader(folder / "model");
  std::vector<float> out(4);
  expect_error(ErrorKind::kData, {"no tensor nope"}, [&] { reader.read("nope", {4}, out); });
  expect_error(ErrorKind::kData, {"wte.weight", "[2, 2]", "[4, 1]"}, [&] {
    reader.read("transformer.wte.weight", {4, 1}, out);
  });
}

TEST(ModelFolder, GivesARunConfigItsShape) {
  const ScratchFolder folder;
  write_model(folder / "model", 3);
  const std::string text = "[model]\npath = \"model\"\n";
  const LoadedConfig loaded = load_config_text(text, "a.toml", folder.path(), {});
  EXPECT_TRUE(loaded.config.model.shape == small_gpt2());
  EXPECT_EQ(loaded.config.data.seq_len, 16);
  EXPECT_TRUE(load_config_text(print_config(loaded), "b", "/", {}).config == loaded.config);
  expect_error(ErrorKind::kConfig, {"a.toml:3", "model.layers is 2", "config.json has 1"},
               [&] { load_config_text(text + "layers = 2\n", "a.toml", folder.path(), {}); });
}

}  // namespace
}  // namespace sluice

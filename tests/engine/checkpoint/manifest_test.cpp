// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/manifest.h"

#include <cmath>
#include <random>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

Manifest any_manifest() {
  Manifest m;
  m.run = {.step = 120,
           .samples = 960,
           .tokens = 15'360,
           .epoch = 1.5,
           .loss = 2.25,
           .learning_rate = 3e-4,
           .seed = 7,
           .skipped = {.all = 7, .in_a_row = 1},
           .digest = 0xfeedfacecafebeefU,
           .validation = {.step = 100, .loss = 2.5, .best = 2.25, .without_best = 3}};
  m.data = {.tokens = 1000, .fingerprint = 5};
  m.config = {{"train.steps", "200"}, {"model.family", "\"gpt2\""}};
  m.files = {{"model.safetensors", {4'194'400}, 1}, {"config.json", {2}, 3}};
  m.tensors = {{.file = "model.safetensors",
                .name = "a.weight",
                .dtype = DType::kFloat32,
                .shape = {1024, 1024},
                .offset = {96},
                .checksums = {0x1234}}};
  return m;
}

// The same text with other contents, and a right checksum: what a hostile hand would write.
std::string resealed(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  text.resize(text.rfind(",\"checksum\":"));
  return text + manifest_tail(text);
}

// Four bytes of model.safetensors.
std::string tensor(const std::string& name, int offset) {
  return R"({"file":"model.safetensors","name":")" + name +
         R"(","dtype":"F32","shape":[1],"offset":)" + std::to_string(offset) +
         R"(,"bytes":4,"checksums":"0000000000000001"})";
}

TEST(Manifest, IsReadAsItWasWritten) {
  EXPECT_EQ(parse_manifest(to_json(any_manifest()), "m"), any_manifest());
}

TEST(Manifest, ALossThatWasNoNumberIsNoneAfterwards) {
  Manifest m = any_manifest();
  m.run.loss = std::nan("");
  EXPECT_TRUE(std::isnan(parse_manifest(to_json(m), "m").run.loss));
}

TEST(Manifest, AnyFlippedBitAndAnyCutIsSeen) {
  const std::string whole = to_json(any_manifest());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ (1 << (i % 8)));
    expect_error(ErrorKind::kData, {"dir/manifest.json"},
                 [&] { parse_manifest(text, "dir/manifest.json"); });
    expect_error(ErrorKind::kData, {}, [&] { parse_manifest(whole.substr(0, i), "m"); });
  }
}

TEST(Manifest, WhatNoCheckpointHoldsIsRefused) {
  const std::string whole = to_json(any_manifest());
  const std::vector<std::array<std::string, 3>> cases = {
      {"\"version\":1", "\"version\":2", "version 2"},
      {"\"sluice-checkpoint\"", "\"other\"", "format"},
      {"\"config.json\"", "\"../config.json\"", "names a file"},
      {"{\"name\":\"model.safetensors\"", "{\"name\":\"/etc/passwd\"", "names a file"},
      {"\"step\":120", "\"step\":-1", "step"},
      {"\"step\":120", "\"step\":1.5", "step"},
      {"\"step\":120", "\"step\":\"1\"", "integer"},
      {"\"step\":120", "\"step\":4e49", "integer"},
      {"[1024,1024]", "[4e49,1024]", "integer"},
      {"[1024,1024]", "[1024,1025]", "bytes"},
      {"[1024,1024]", "[-1024,-1024]", "shape"},
      {"[1024,1024]", "[4611686018427387904,4,4]", "shape"},
      {"\"offset\":96", "\"offset\":97", "within"},
      {"\"offset\":96", "\"offset\":9223372036854775807", "within"},
      {"\"step\":120", "\"step\":120,\"step\":120", "step"},
      {"\"step\":120", "\"x\":" + std::string(65, '[') + std::string(65, ']') + ",\"step\":1",
       "64"},
      {"\"config.json\"", "\"model.safetensors\"", "twice"},
      {"\"tensors\":[", "\"tensors\":[" + tensor("a.weight", 0) + ",", "a.weight is there twice"},
      {"\"tensors\":[", "\"tensors\":[" + tensor("b", 96) + ",", "a.weight overlaps"},
      {"\"F32\"", "\"F64\"", "dtype"},
      {"\"0000000000001234\"", "\"00000000000012\"", "checksums"},
      {"\"0000000000001234\"", "\"000000000000123x\"", "hex"}};
  for (const auto& [from, to, part] : cases) {
    expect_error(ErrorKind::kData, {part},
                 [&, f = from, t = to] { parse_manifest(resealed(whole, f, t), "m"); });
  }
}

TEST(Manifest, RandomTextIsRefused) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 200, ' ');
    for (char& c : text) c = static_cast<char>(random());
    expect_error(ErrorKind::kData, {}, [&] { parse_manifest(text, "m"); });
  }
}

}  // namespace
}  // namespace sluice

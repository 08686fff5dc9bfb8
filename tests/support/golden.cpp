// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/base/error.h"

namespace sluice {
namespace {

std::uint64_t stream_of(const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

// splitmix64 of the stream's index-th state.
std::uint64_t bits(std::uint64_t stream, std::int64_t index) {
  std::uint64_t z = stream + (static_cast<std::uint64_t>(index) + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

ModelShape shape_from(const nlohmann::json& json) {
  ModelShape shape;
  shape.family = json.at("family") == "gpt2" ? Family::kGpt2 : Family::kLlama;
  shape.layers = json.at("layers");
  shape.width = json.at("width");
  shape.heads = json.at("heads");
  shape.kv_heads = json.at("kv_heads");
  shape.head_width = json.at("head_width");
  shape.ffn_width = json.at("ffn_width");
  shape.vocabulary = json.at("vocab");
  shape.context = json.at("context");
  shape.tied = json.at("tied");
  shape.bias = json.at("bias");
  shape.qkv_bias = json.at("qkv_bias");
  shape.norm_eps = json.at("norm_eps");
  shape.rope_theta = json.at("rope_theta");
  shape.gelu = json.at("gelu") == "erf" ? GeluForm::kErf : GeluForm::kTanh;
  return shape;
}

std::filesystem::path golden_file(const std::string& name) {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "tests" / "golden" / name;
}

}  // namespace

const GoldenTensor& Golden::tensor(const std::string& name) const {
  const auto found = std::ranges::find(tensors, name, &GoldenTensor::name);
  SLUICE_CHECK(found != tensors.end());
  return *found;
}

Golden load_golden(const std::string& name) {
  std::ifstream text(golden_file(name + ".json"));
  SLUICE_CHECK(text.good());
  const nlohmann::json json = nlohmann::json::parse(text);
  const nlohmann::json& run = json.at("run");
  Golden golden;
  golden.shape = shape_from(json.at("shape"));
  golden.global_batch = run.at("global_batch");
  golden.length = run.at("length");
  golden.lr = run.at("lr");
  golden.beta1 = run.at("beta1");
  golden.beta2 = run.at("beta2");
  golden.eps = run.at("eps");
  golden.weight_decay = run.at("weight_decay");
  golden.clip = run.at("clip");
  golden.losses = json.at("losses").get<std::vector<double>>();
  golden.gradient_norms = json.at("gradient_norms").get<std::vector<double>>();

  std::ifstream binary(golden_file(name + ".bin"), std::ios::binary);
  for (const nlohmann::json& entry : json.at("tensors")) {
    GoldenTensor tensor;
    tensor.name = entry.at("name");
    tensor.count = entry.at("count");
    tensor.first_gradient_norm = entry.at("first_gradient_norm");
    tensor.final.resize(static_cast<std::size_t>(tensor.count));
    binary.read(reinterpret_cast<char*>(tensor.final.data()),
                static_cast<std::streamsize>(tensor.final.size() * sizeof(float)));
    SLUICE_CHECK(binary.good());
    golden.tensors.push_back(std::move(tensor));
  }
  SLUICE_CHECK(binary.peek() == std::ifstream::traits_type::eof());
  return golden;
}

void GoldenWeights::compare(double weight, double expected) {
  const double difference = std::abs(weight - expected);
  apart_ += difference <= 1e-4 ? 0 : 1;
  worst_ = std::max(worst_, difference);
}

void GoldenWeights::expect_equal() const {
  EXPECT_LE(apart_, kFewWeights);
  EXPECT_LE(worst_, 1e-3);  // one step of Adam
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const char* model : {"gpt2_tied", "gpt2_untied", "llama_tied", "llama_untied"}) {
    for (const char* clip : {"_clip", "_free"}) names.push_back(std::string(model) + clip);
  }
  return names;
}

float golden_initial_value(const std::string& tensor, bool matrix, std::int64_t index) {
  const auto drawn = static_cast<double>(bits(stream_of(tensor), index) >> 40);
  const bool norm_scale = !matrix && !tensor.ends_with(".bias");
  return static_cast<float>((norm_scale ? 1.0 : 0.0) + 0.25 * (drawn * 0x1p-24 - 0.5));
}

GoldenBatch golden_batch(const Golden& golden, std::int64_t step) {
  static const std::uint64_t kTokens = stream_of("tokens");
  static const std::uint64_t kMask = stream_of("mask");
  const auto vocabulary = static_cast<std::uint64_t>(golden.shape.vocabulary);
  const auto token = [&](std::int64_t index) {
    const std::uint64_t drawn = bits(kTokens, index);
    return static_cast<std::int32_t>(std::min(drawn % vocabulary, (drawn >> 32) % vocabulary));
  };
  GoldenBatch batch;
  std::int64_t index = step * golden.global_batch * (golden.length + 1);
  for (std::int64_t b = 0; b < golden.global_batch; ++b, ++index) {
    for (std::int64_t t = 0; t < golden.length; ++t, ++index) {
      const bool masked = bits(kMask, index + 1) % 13 == 0;
      batch.ids.push_back(token(index));
      batch.targets.push_back(masked ? -1 : token(index + 1));
      batch.unmasked += masked ? 0 : 1;
    }
  }
  return batch;
}

}  // namespace sluice

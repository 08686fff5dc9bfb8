// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_json.h"

#include <gtest/gtest.h>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

ModelShape gpt2() {
  ModelShape shape;
  shape.layers = 2;
  shape.width = 72;
  shape.heads = shape.kv_heads = 3;
  shape.head_width = 24;
  shape.ffn_width = 100;
  shape.vocabulary = 257;
  shape.context = 49;
  return shape;
}

ModelShape llama() {
  ModelShape shape = gpt2();
  shape.family = Family::kLlama;
  shape.kv_heads = 1;
  shape.head_width = 32;
  shape.tied = shape.bias = false;
  shape.norm_eps = 1e-6F;
  shape.rope_theta = 500000;
  return shape;
}

ModelShape read(const std::string& json) {
  const ScratchFolder folder;
  folder.write("config.json", json);
  return read_model_json(folder.path());
}

TEST(ModelJson, EveryShapeIsReadBackAsWritten) {
  std::vector<ModelShape> shapes = {gpt2(), llama()};
  shapes.push_back(gpt2());
  shapes.back().bias = false;
  shapes.back().tied = false;
  shapes.back().gelu = GeluForm::kErf;
  shapes.push_back(llama());
  shapes.back().qkv_bias = true;
  shapes.back().tied = true;
  for (const ModelShape& shape : shapes) {
    EXPECT_TRUE(read(write_model_json(shape, DType::kBFloat16)) == shape)
        << write_model_json(shape, DType::kBFloat16);
  }
}

TEST(ModelJson, SpeaksToBothGenerationsOfTransformers) {
  const std::string json = write_model_json(llama(), DType::kBFloat16);
  for (const char* part :
       {"\"torch_dtype\": \"bfloat16\"", "\"dtype\": \"bfloat16\"", "\"LlamaForCausalLM\"",
        "\"model_type\": \"llama\"", "\"rope_theta\": 500000.0", "\"rope_parameters\"",
        "\"rms_norm_eps\": 1e-06", "\"tie_word_embeddings\": false"}) {
    EXPECT_NE(json.find(part), std::string::npos) << part << " is not in " << json;
  }
  const std::string old = write_model_json(gpt2(), DType::kFloat32);
  EXPECT_NE(old.find("\"activation_function\": \"gelu_new\""), std::string::npos);
  EXPECT_NE(old.find("\"GPT2LMHeadModel\""), std::string::npos);
}

TEST(ModelJson, ReadsTheHubsGpt2) {
  const ModelShape shape = read(R"({"activation_function": "gelu_new", "model_type": "gpt2",
      "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
      "n_inner": null, "layer_norm_epsilon": 1e-05, "vocab_size": 50257})");
  EXPECT_EQ(shape.ffn_width, 3072);
  EXPECT_EQ(shape.head_width, 64);
  EXPECT_TRUE(shape.tied && shape.bias);
}

TEST(ModelJson, ReadsBothSpellingsOfQwen2) {
  const std::string common = R"("model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24,
      "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
      "max_position_embeddings": 32768, "rms_norm_eps": 1e-06, "vocab_size": 151936,
      "tie_word_embeddings": true, "hidden_act": "silu", "use_sliding_window": false, )";
  const ModelShape four = read("{" + common + R"("rope_theta": 1000000.0})");
  const ModelShape five = read(
      "{" + common + R"("rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}})");
  EXPECT_TRUE(four == five);
  EXPECT_EQ(four.rope_theta, 1e6F);
  EXPECT_TRUE(four.qkv_bias && four.tied);
}

TEST(ModelJson, WhatWeDoNotComputeIsRefused) {
  const auto bad = [](const std::string& json, const std::vector<std::string>& parts) {
    expect_error(ErrorKind::kData, parts, [&] { read(json); });
  };
  const auto with = [](const std::string& json, const std::string& field) {
    return json.substr(0, json.rfind('}')) + ", " + field + "}";
  };
  const std::string llama_json = write_model_json(llama(), DType::kFloat32);
  const std::string gpt2_json = write_model_json(gpt2(), DType::kFloat32);
  bad("not json", {"config.json", "no", "JSON"});
  bad("[]", {"JSON object"});
  bad(R"({"model_type": "gemma3"})", {"gemma3", "gpt2, llama, mistral and qwen2"});
  bad(R"({"model_type": "gpt2"})", {"n_layer", "missing"});
  bad(with(gpt2_json, R"("n_head": "three")"), {"n_head"});
  bad(with(gpt2_json, R"("n_head": 0)"), {"n_head is 0"});
  bad(with(gpt2_json, R"("n_head": 5)"), {"n_embd", "n_head"});
  bad(with(gpt2_json, R"("activation_function": "relu")"), {"relu"});
  bad(with(gpt2_json, R"("scale_attn_by_inverse_layer_idx": true)"), {"inverse_layer"});
  bad(with(llama_json, R"("hidden_act": "gelu")"), {"hidden_act"});
  bad(with(llama_json, R"("rope_scaling": {"factor": 8})"), {"rope_scaling"});
  bad(with(llama_json, R"("rope_parameters": {"rope_type": "llama3"})"), {"rope_type"});
  bad(with(llama_json, R"("attention_bias": true)"), {"attention_bias"});
  bad(with(llama_json, R"("num_key_value_heads": 2)"), {"num_key_value_heads"});
  expect_error(ErrorKind::kData, {"/nowhere/config.json"}, [] { read_model_json("/nowhere"); });
}

}  // namespace
}  // namespace sluice

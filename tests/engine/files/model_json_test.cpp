// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/config/load_config.h"
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
  shapes.push_back(shapes.back());
  shapes.back().window = 32;
  shapes.push_back(llama());
  shapes.back().window = 32;
  shapes.push_back(llama());
  shapes.back().rope_scaling = {
      .factor = 32, .low_factor = 1, .high_factor = 4, .original_context = 8192};
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

// As transformers reads them: null is "as many as heads", no key is the family's own number.
TEST(ModelJson, KeyValueHeadsThatAreNullAreAsManyAsHeads) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    const std::string common = std::string(R"({"model_type": ")") + type +
                               R"(", "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 16, "intermediate_size": 64, "vocab_size": 100)";
    EXPECT_EQ(read(common + R"(, "num_key_value_heads": null})").kv_heads, 16) << type;
  }
}

TEST(ModelJson, ReadsBothSpellingsOfLlama3) {
  const std::string common =
      R"({"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
      "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
      "intermediate_size": 8192, "max_position_embeddings": 131072, "attention_dropout": 0.0,
      "tie_word_embeddings": true, "pretraining_tp": 1, "attention_bias": false, )";
  const std::string numbers = R"("factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3")";
  const ModelShape four =
      read(common + R"("rope_theta": 500000.0, "rope_scaling": {)" + numbers + "}}");
  const ModelShape five =
      read(common + R"("rope_parameters": {"rope_theta": 500000.0, )" + numbers + "}}");
  EXPECT_TRUE(four == five);
  EXPECT_EQ(
      four.rope_scaling,
      (RopeScaling{.factor = 32, .low_factor = 1, .high_factor = 4, .original_context = 8192}));
  EXPECT_EQ(four.rope_theta, 500000.0F);
  EXPECT_EQ(four.head_width, 64);
}

TEST(ModelJson, AWindowCountsWhereItIsUsed) {
  const auto model = [](const std::string& type, const std::string& fields) {
    return read(R"({"model_type": ")" + type + R"(", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
        "max_position_embeddings": 32768, "vocab_size": 1000)" +
                fields + "}");
  };
  EXPECT_EQ(model("mistral", "").window, 4096);  // transformers' default
  EXPECT_EQ(model("mistral", R"(, "sliding_window": null)").longest(), 32768);
  EXPECT_EQ(model("mistral", R"(, "sliding_window": 512)").longest(), 512);
  const std::string at_512 = R"(, "sliding_window": 512)";
  EXPECT_EQ(model("qwen2", at_512 + R"(, "use_sliding_window": false)").window, 0);
  const std::string used = at_512 + R"(, "use_sliding_window": true)";
  EXPECT_EQ(model("qwen2", used + R"(, "max_window_layers": 1)").window, 512);
  EXPECT_EQ(model("qwen2", used + R"(, "max_window_layers": 2)").window, 0);  // no layer left
  EXPECT_EQ(
      model("qwen2", used + R"(, "layer_types": ["full_attention", "sliding_attention"])").window,
      512);
}

TEST(ModelJson, SequencesLongerThanAWindowAreRefused) {
  const ScratchFolder folder;
  ModelShape shape = llama();
  shape.window = 32;
  folder.write("model/config.json", write_model_json(shape, DType::kFloat32));
  const auto load = [&](const std::string& length) {
    return load_config_text("model.path = \"model\"\ndata.seq_len = " + length, "a.toml",
                            folder.path(), {});
  };
  EXPECT_EQ(load("32").config.data.seq_len, 32);
  EXPECT_EQ(load("0").config.data.seq_len, 32);
  expect_error(ErrorKind::kConfig, {"data.seq_len 33", "sliding_window 32", "config.json"},
               [&] { load("33"); });
}

TEST(ModelJson, ACopyKeepsWhatIsNotOurs) {
  const ScratchFolder folder;
  folder.write("config.json", R"({"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2,
      "n_positions": 16, "vocab_size": 256, "bos_token_id": 5, "resid_pdrop": 0.1, "mine": [1],
      "attn_pdrop": 0, "torch_dtype": "float32", "auto_map": {"AutoModel": "evil.Model"}})");
  const auto copy = nlohmann::json::parse(carry_model_json(folder.path(), true, "BF16"));
  EXPECT_EQ(copy.at("bos_token_id"), 5);
  EXPECT_EQ(copy.at("mine"), nlohmann::json::parse("[1]"));
  EXPECT_EQ(copy.at("torch_dtype"), "bfloat16");
  EXPECT_EQ(copy.at("dtype"), "bfloat16");
  EXPECT_EQ(copy.at("tie_word_embeddings"), true);
  EXPECT_FALSE(copy.contains("auto_map"));
  EXPECT_EQ(dropout_in(folder.path()), "resid_pdrop 0.1");
}

TEST(ModelJson, WhatWeDoNotComputeIsRefused) {
  const auto bad = [](const std::string& json, const std::vector<std::string>& parts) {
    expect_error(ErrorKind::kData, parts, [&] { read(json); });
  };
  const auto with = [](const std::string& json, const std::string& field) {
    auto whole = nlohmann::json::parse(json);
    whole.update(nlohmann::json::parse("{" + field + "}"));
    return whole.dump();
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
  bad(with(llama_json, R"("rope_scaling": {"rope_type": "yarn"})"), {"rope_scaling", "yarn"});
  bad(with(llama_json, R"("rope_parameters": {"rope_type": "llama3"})"),
      {"rope_parameters", "original_max_position_embeddings"});
  bad(with(llama_json, R"("attention_bias": true)"), {"attention_bias"});
  bad(with(llama_json, R"("num_key_value_heads": 2)"), {"num_key_value_heads"});
  bad(with(llama_json, R"("auto_map": {"AutoModelForCausalLM": "own.Model"})"), {"auto_map"});
  expect_error(ErrorKind::kData, {"/nowhere/config.json"}, [] { read_model_json("/nowhere"); });
}

}  // namespace
}  // namespace sluice

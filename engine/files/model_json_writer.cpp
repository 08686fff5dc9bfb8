// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "devices/base/strict_json.h"
#include "engine/files/input_file.h"
#include "engine/files/model_json.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

const char* hugging_face_name(std::string_view stored) {
  if (stored == "F16") return "float16";
  return stored == "F32" ? "float32" : "bfloat16";
}

// The shortest decimal of a float: 1e-05, not 9.999999747378752e-06.
double shortest(float x) { return std::stod(fmt::format("{}", x)); }

Json gpt2_json(const ModelShape& shape) {
  Json json = Json::object();
  json["architectures"] = {"GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["n_layer"] = shape.layers;
  json["n_embd"] = shape.width;
  json["n_head"] = shape.heads;
  json["n_inner"] = shape.ffn_width;
  json["n_positions"] = shape.context;
  json["n_ctx"] = shape.context;
  json["vocab_size"] = shape.vocabulary;
  json["activation_function"] = shape.gelu == GeluForm::kTanh ? "gelu_new" : "gelu";
  json["layer_norm_epsilon"] = shortest(shape.norm_eps);
  for (const char* dropout : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) json[dropout] = 0.0;
  json["scale_attn_weights"] = true;
  if (!shape.bias) json["sluice_bias"] = false;
  return json;
}

// Qwen2's classes are the ones of transformers that have biases on q, k, v alone,
// Mistral's the ones that slide in every layer without.
Json llama_json(const ModelShape& shape) {
  const bool is_mistral = !shape.qkv_bias && shape.window > 0;
  Json json = Json::object();
  json["architectures"] = {shape.qkv_bias ? "Qwen2ForCausalLM"
                           : is_mistral   ? "MistralForCausalLM"
                                          : "LlamaForCausalLM"};
  json["model_type"] = shape.qkv_bias ? "qwen2" : is_mistral ? "mistral" : "llama";
  json["num_hidden_layers"] = shape.layers;
  json["hidden_size"] = shape.width;
  json["num_attention_heads"] = shape.heads;
  json["num_key_value_heads"] = shape.kv_heads;
  json["head_dim"] = shape.head_width;
  json["intermediate_size"] = shape.ffn_width;
  json["max_position_embeddings"] = shape.context;
  json["vocab_size"] = shape.vocabulary;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = shortest(shape.norm_eps);
  json["rope_theta"] = shortest(shape.rope_theta);
  Json rope = {{"rope_type", "default"}};
  if (shape.rope_scaling.factor != 1.0F) {
    const RopeScaling& scaling = shape.rope_scaling;
    rope = {
        {"rope_type", "llama3"},
        {"factor", shortest(scaling.factor)},
        {"low_freq_factor", shortest(scaling.low_factor)},
        {"high_freq_factor", shortest(scaling.high_factor)},
        {"original_max_position_embeddings", static_cast<std::int64_t>(scaling.original_context)}};
    json["rope_scaling"] = rope;  // version 4
  }
  rope["rope_theta"] = shortest(shape.rope_theta);
  json["rope_parameters"] = rope;  // version 5
  json["attention_dropout"] = 0.0;
  if (shape.window > 0) json["sliding_window"] = shape.window;
  if (shape.qkv_bias) {
    json["use_sliding_window"] = shape.window > 0;
    json["max_window_layers"] = shape.window > 0 ? 0 : shape.layers;
  } else if (!is_mistral) {
    json["attention_bias"] = false;
    json["mlp_bias"] = false;
  }
  return json;
}

void set_copy(Json& json, bool tied, std::string_view stored) {
  json["tie_word_embeddings"] = tied;
  json["torch_dtype"] = hugging_face_name(stored);  // version 4
  json["dtype"] = hugging_face_name(stored);        // version 5
}

}  // namespace

std::string write_model_json(const ModelShape& shape, DType dtype) {
  Json json = shape.family == Family::kGpt2 ? gpt2_json(shape) : llama_json(shape);
  json["initializer_range"] = shortest(shape.init_std);
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  json["use_cache"] = true;
  set_copy(json, shape.tied, dtype == DType::kFloat32 ? "F32" : "BF16");
  return json.dump(2) + "\n";
}

std::string carry_model_json(const std::filesystem::path& folder, bool tied,
                             std::string_view stored_dtype) {
  const InputFile file(folder, "config.json");
  const std::string text = file.text(kLargestModelJson);
  check_strict_json(text, file.path().string(), ErrorKind::kData);
  Json json = Json::parse(text);
  json.erase("auto_map");  // names of code that comes with a folder
  json.erase("_name_or_path");
  set_copy(json, tied, stored_dtype);
  return json.dump(2) + "\n";
}

}  // namespace sluice

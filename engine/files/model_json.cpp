// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_json.h"

#include <fmt/core.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/base/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

const char* hugging_face_name(DType dtype) {
  return dtype == DType::kFloat32 ? "float32" : "bfloat16";
}

// The shortest decimal of a float: 1e-05, not 9.999999747378752e-06.
double shortest(float x) { return std::stod(fmt::format("{}", x)); }

Json gpt2_json(const ModelShape& shape) {
  Json json;
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

// Qwen2's classes are the ones of transformers that have biases on q, k, v alone.
Json llama_json(const ModelShape& shape) {
  Json json;
  json["architectures"] = {shape.qkv_bias ? "Qwen2ForCausalLM" : "LlamaForCausalLM"};
  json["model_type"] = shape.qkv_bias ? "qwen2" : "llama";
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
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", shortest(shape.rope_theta)}};
  json["attention_dropout"] = 0.0;
  if (shape.qkv_bias) {
    json["use_sliding_window"] = false;
  } else {
    json["attention_bias"] = false;
    json["mlp_bias"] = false;
  }
  return json;
}

// Fields of one file; every failure names file and field.
class Fields {
 public:
  Fields(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kData, fmt::format("{}: {}", file_, what));
  }

  bool has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }

  template <typename T>
  T get(const char* name, T fallback) const {
    if (!has(name)) return fallback;
    try {
      return json_[name].get<T>();
    } catch (const Json::exception&) {
      refuse(fmt::format("{} has the wrong type", name));
    }
  }

  std::int64_t size(const char* name, std::int64_t fallback = 0) const {
    if (has(name) && !json_[name].is_number_integer())
      refuse(fmt::format("{} is no integer", name));
    const auto value = get<std::int64_t>(name, fallback);
    if (value < 1 || value > 10'000'000) {
      refuse(fmt::format("{} is {}, which no model has", name,
                         has(name) ? fmt::format("{}", value) : "missing"));
    }
    return value;
  }

  // Refuses a setting that changes the arithmetic in a way we do not compute.
  template <typename T>
  void must_be(const char* name, T wanted) const {
    if (get<T>(name, wanted) != wanted) {
      refuse(fmt::format("{} = {} is not supported", name, json_[name].dump()));
    }
  }

 private:
  const Json& json_;
  std::string file_;
};

ModelShape read_gpt2(const Fields& fields) {
  ModelShape shape;
  shape.family = Family::kGpt2;
  shape.layers = fields.size("n_layer");
  shape.width = fields.size("n_embd");
  shape.heads = shape.kv_heads = fields.size("n_head");
  shape.head_width = shape.width / shape.heads;
  shape.ffn_width = fields.size("n_inner", 4 * shape.width);
  shape.vocabulary = fields.size("vocab_size");
  shape.context = fields.size("n_positions");
  shape.norm_eps = fields.get("layer_norm_epsilon", 1e-5F);
  shape.init_std = fields.get("initializer_range", 0.02F);
  shape.tied = fields.get("tie_word_embeddings", true);
  shape.bias = fields.get("sluice_bias", true);
  const auto activation = fields.get<std::string>("activation_function", "gelu_new");
  const bool is_tanh = activation == "gelu_new" || activation == "gelu_pytorch_tanh";
  if (!is_tanh && activation != "gelu") {
    fields.refuse(fmt::format("activation_function \"{}\" is not supported", activation));
  }
  shape.gelu = is_tanh ? GeluForm::kTanh : GeluForm::kErf;
  fields.must_be("scale_attn_weights", true);
  fields.must_be("scale_attn_by_inverse_layer_idx", false);
  fields.must_be("add_cross_attention", false);
  if (shape.width % shape.heads != 0) fields.refuse("n_embd is no multiple of n_head");
  return shape;
}

float read_rope_theta(const Json& json, const Fields& fields, const std::string& file) {
  if (fields.has("rope_scaling")) fields.refuse("rope_scaling is not supported");
  float theta = fields.get("rope_theta", 10000.0F);
  if (fields.has("rope_parameters")) {
    const Fields inner(json["rope_parameters"], file + ": rope_parameters");
    if (inner.get<std::string>("rope_type", "default") != "default") {
      inner.refuse("only rope_type \"default\" is supported");
    }
    theta = inner.get("rope_theta", theta);
  }
  return theta;
}

ModelShape read_llama(const Json& json, const Fields& fields, const std::string& file) {
  const bool is_qwen2 = fields.get<std::string>("model_type", "") == "qwen2";
  ModelShape shape;
  shape.family = Family::kLlama;
  shape.layers = fields.size("num_hidden_layers");
  shape.width = fields.size("hidden_size");
  shape.heads = fields.size("num_attention_heads");
  shape.kv_heads = fields.size("num_key_value_heads", shape.heads);
  shape.head_width = fields.size("head_dim", std::max<std::int64_t>(1, shape.width / shape.heads));
  shape.ffn_width = fields.size("intermediate_size");
  shape.vocabulary = fields.size("vocab_size");
  shape.context = fields.size("max_position_embeddings", is_qwen2 ? 32768 : 2048);
  shape.norm_eps = fields.get("rms_norm_eps", 1e-6F);
  shape.init_std = fields.get("initializer_range", 0.02F);
  shape.rope_theta = read_rope_theta(json, fields, file);
  shape.tied = fields.get("tie_word_embeddings", false);
  shape.bias = false;
  shape.qkv_bias = is_qwen2;
  const auto activation = fields.get<std::string>("hidden_act", "silu");
  if (activation != "silu") {
    fields.refuse(fmt::format("hidden_act \"{}\" is not supported", activation));
  }
  // On a llama it puts a bias on the output projection too.
  fields.must_be("attention_bias", false);
  fields.must_be("mlp_bias", false);
  fields.must_be("use_sliding_window", false);
  if (shape.heads % shape.kv_heads != 0) {
    fields.refuse("num_attention_heads is no multiple of num_key_value_heads");
  }
  return shape;
}

}  // namespace

std::string write_model_json(const ModelShape& shape, DType dtype) {
  Json json = shape.family == Family::kGpt2 ? gpt2_json(shape) : llama_json(shape);
  json["initializer_range"] = shortest(shape.init_std);
  json["tie_word_embeddings"] = shape.tied;
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  json["use_cache"] = true;
  json["torch_dtype"] = hugging_face_name(dtype);
  json["dtype"] = hugging_face_name(dtype);
  return json.dump(2) + "\n";
}

ModelShape read_model_json(const std::filesystem::path& folder) {
  const std::string file = (folder / "config.json").string();
  std::ifstream in(file);
  if (!in) {
    throw Error(
        ErrorKind::kData,
        fmt::format("{}: no such file; model.path must be a Hugging Face model folder", file));
  }
  const Json json = Json::parse(in, nullptr, /*allow_exceptions=*/false);
  const Fields fields(json, file);
  if (!json.is_object()) fields.refuse("not a JSON object");
  const auto type = fields.get<std::string>("model_type", "");
  if (type == "gpt2") return read_gpt2(fields);
  if (type == "llama" || type == "qwen2") return read_llama(json, fields, file);
  fields.refuse(fmt::format("model_type \"{}\" is not supported; gpt2, llama and qwen2 are", type));
}

}  // namespace sluice

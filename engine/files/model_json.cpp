// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/strict_json.h"
#include "engine/files/input_file.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

// Fields of one file; every failure names file and field.
class Fields {
 public:
  Fields(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kData, fmt::format("{}: {}", file_, what));
  }

  bool has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }

  // Numbers are read by size() and number(): the library would convert any to any other, though
  // 1e300 is no integer's value.
  template <typename T>
  T get(const char* name, T fallback) const {
    static_assert(std::is_same_v<T, bool> || !std::is_arithmetic_v<T>);
    if (!has(name)) return fallback;
    try {
      return json_[name].get<T>();
    } catch (const Json::exception&) {
      refuse(
          fmt::format("{} is {}, which is of the wrong type", name, printable(json_[name].dump())));
    }
  }

  // A whole number from 1, or from 0 where `may_be_zero`, to `most`.
  std::int64_t size(const char* name, std::int64_t fallback = 0, std::int64_t most = 1 << 20,
                    bool may_be_zero = false) const {
    if (has(name) && !json_[name].is_number_integer())
      refuse(fmt::format("{} is no integer", name));
    const auto value = has(name) ? json_[name].get<std::int64_t>() : fallback;
    if (value < (may_be_zero ? 0 : 1) || value > most) {
      refuse(fmt::format("{} is {}: it must be a whole number from {} to {}", name,
                         has(name) ? json_[name].dump() : "missing", may_be_zero ? 0 : 1, most));
    }
    return value;
  }

  float number(const char* name, float fallback, bool may_be_zero = false) const {
    if (!has(name)) return fallback;
    const double value = json_[name].is_number() ? json_[name].get<double>() : -1.0;
    const auto single = value <= std::numeric_limits<float>::max() ? static_cast<float>(value) : -1;
    if (!(single >= 0) || (single == 0 && !may_be_zero)) {
      refuse(fmt::format("{} is {}: it must be a number {} 0, in fp32", name,
                         printable(json_[name].dump()), may_be_zero ? "from" : "above"));
    }
    return single;
  }

  // Refuses a setting that changes the arithmetic in a way we do not compute.
  void must_be(const char* name, const Json& wanted) const {
    if (has(name) && json_[name] != wanted) {
      refuse(fmt::format("{} = {} is not supported", name, printable(json_[name].dump())));
    }
  }

  const Json* object(const char* name) const {
    if (!has(name)) return nullptr;
    if (!json_[name].is_object()) refuse(fmt::format("{} is no object", name));
    return &json_[name];
  }

  // Refuses keys besides `known`.
  template <std::size_t kCount>
  void only(const std::array<std::string_view, kCount>& known) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::ranges::find(known, key) == known.end()) {
        refuse(fmt::format("{} is not supported", printable(key)));
      }
    }
  }

 private:
  const Json& json_;
  std::string file_;
};

constexpr std::int64_t kMostLayers = 4096;
constexpr std::int64_t kLongestContext = 1 << 24;
constexpr std::int64_t kWidestHead = 256;

void check_heads(const ModelShape& shape, const Fields& fields) {
  if (shape.head_width > kWidestHead) {
    fields.refuse(fmt::format("heads of {} elements are not supported: at most {}",
                              shape.head_width, kWidestHead));
  }
}

ModelShape read_gpt2(const Fields& fields) {
  ModelShape shape;
  shape.family = Family::kGpt2;
  shape.layers = fields.size("n_layer", 0, kMostLayers);
  shape.width = fields.size("n_embd");
  shape.heads = shape.kv_heads = fields.size("n_head");
  shape.head_width = shape.width / shape.heads;
  shape.ffn_width = fields.size("n_inner", 4 * shape.width, 4 << 20);
  shape.vocabulary = fields.size("vocab_size");
  shape.context = fields.size("n_positions", 0, kLongestContext);
  shape.norm_eps = fields.number("layer_norm_epsilon", 1e-5F);
  shape.init_std = fields.number("initializer_range", 0.02F, /*may_be_zero=*/true);
  shape.tied = fields.get("tie_word_embeddings", true);
  shape.bias = fields.get("sluice_bias", true);
  const auto activation = fields.get<std::string>("activation_function", "gelu_new");
  const bool is_tanh = activation == "gelu_new" || activation == "gelu_pytorch_tanh";
  if (!is_tanh && activation != "gelu") {
    fields.refuse(
        fmt::format("activation_function \"{}\" is not supported", printable(activation)));
  }
  shape.gelu = is_tanh ? GeluForm::kTanh : GeluForm::kErf;
  fields.must_be("scale_attn_weights", true);
  fields.must_be("scale_attn_by_inverse_layer_idx", false);
  fields.must_be("reorder_and_upcast_attn", false);
  fields.must_be("add_cross_attention", false);
  if (shape.width % shape.heads != 0) fields.refuse("n_embd is no multiple of n_head");
  check_heads(shape, fields);
  return shape;
}

struct Rotation {
  float theta = 10000.0F;
  RopeScaling scaling{};
};

// An object that says how positions turn: rope_scaling of transformers 4, or
// rope_parameters of 5.
Rotation read_rotation(const Json& json, const std::string& name, float theta) {
  const Fields fields(json, name);
  fields.only(std::to_array<std::string_view>(
      {"rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
       "original_max_position_embeddings", "partial_rotary_factor"}));
  fields.must_be("partial_rotary_factor", 1.0);
  Rotation rotation{.theta = fields.number("rope_theta", theta)};
  const auto type =
      fields.get<std::string>("rope_type", fields.get<std::string>("type", "default"));
  if (type == "default") return rotation;
  if (type != "llama3") {
    fields.refuse(fmt::format("rope_type \"{}\" is not supported; \"default\" and \"llama3\" are",
                              printable(type)));
  }
  RopeScaling& scaling = rotation.scaling;
  scaling.factor = fields.number("factor", 0.0F);
  scaling.low_factor = fields.number("low_freq_factor", 0.0F);
  scaling.high_factor = fields.number("high_freq_factor", 0.0F);
  scaling.original_context =
      static_cast<float>(fields.size("original_max_position_embeddings", 0, kLongestContext));
  if (scaling.factor < 1 || scaling.low_factor <= 0 || scaling.high_factor <= scaling.low_factor) {
    fields.refuse("llama3 needs factor from 1 and 0 < low_freq_factor < high_freq_factor");
  }
  if (scaling.factor == 1) scaling = {};
  return rotation;
}

void read_rope(const Fields& fields, const std::string& file, ModelShape& shape) {
  Rotation rotation{.theta = fields.number("rope_theta", 10000.0F)};
  const Json* four = fields.object("rope_scaling");
  const Json* five = fields.object("rope_parameters");
  if (four != nullptr) rotation = read_rotation(*four, file + ": rope_scaling", rotation.theta);
  if (five != nullptr) {
    const Rotation newer = read_rotation(*five, file + ": rope_parameters", rotation.theta);
    if (four != nullptr && newer.scaling != rotation.scaling) {
      fields.refuse("rope_scaling and rope_parameters disagree");
    }
    rotation = newer;
  }
  shape.rope_theta = rotation.theta;
  shape.rope_scaling = rotation.scaling;
}

// Keys that a query sees, 0 where it sees all in every layer.
std::int64_t read_window(const Json& json, const Fields& fields, const std::string& type,
                         std::int64_t layers) {
  bool is_sliding = false;
  const auto kinds = fields.get<std::vector<std::string>>("layer_types", {});
  for (const std::string& kind : kinds) {
    is_sliding = is_sliding || kind == "sliding_attention";
    if (kind != "sliding_attention" && kind != "full_attention") {
      fields.refuse(fmt::format("layer_types: \"{}\" is not supported", printable(kind)));
    }
  }
  if (type == "mistral") {
    const bool is_off = json.contains("sliding_window") && json["sliding_window"].is_null();
    return is_off ? 0 : fields.size("sliding_window", 4096, kLongestContext);
  }
  const bool is_used = type == "qwen2" && fields.get("use_sliding_window", false);
  if (is_sliding && !is_used) fields.refuse("layer_types slide, but use_sliding_window is false");
  if (type == "llama") fields.must_be("use_sliding_window", false);
  if (kinds.empty())
    is_sliding =
        is_used && fields.size("max_window_layers", 28, 1 << 20, /*may_be_zero=*/true) < layers;
  return is_sliding ? fields.size("sliding_window", 4096, kLongestContext) : 0;
}

ModelShape read_llama(const Json& json, const Fields& fields, const std::string& type,
                      const std::string& file) {
  const std::int64_t no_key = type == "mistral" ? 8 : 32;
  ModelShape shape;
  shape.family = Family::kLlama;
  shape.layers = fields.size("num_hidden_layers", 0, kMostLayers);
  shape.width = fields.size("hidden_size");
  shape.heads = fields.size("num_attention_heads");
  const bool of_heads = type == "llama" || json.contains("num_key_value_heads");  // then as null
  shape.kv_heads = fields.size("num_key_value_heads", of_heads ? shape.heads : no_key);
  if (!fields.has("head_dim") && shape.width % shape.heads != 0) {
    fields.refuse("hidden_size is no multiple of num_attention_heads");
  }
  shape.head_width = fields.size("head_dim", shape.width / shape.heads);
  shape.ffn_width = fields.size("intermediate_size");
  shape.vocabulary = fields.size("vocab_size");
  const std::int64_t context = type == "llama" ? 2048 : type == "qwen2" ? 32768 : 131072;
  shape.context = fields.size("max_position_embeddings", context, kLongestContext);
  shape.norm_eps = fields.number("rms_norm_eps", 1e-6F);
  shape.init_std = fields.number("initializer_range", 0.02F, /*may_be_zero=*/true);
  read_rope(fields, file, shape);
  shape.tied = fields.get("tie_word_embeddings", false);
  shape.bias = false;
  shape.qkv_bias = type == "qwen2";
  shape.window = read_window(json, fields, type, shape.layers);
  const auto activation = fields.get<std::string>("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    fields.refuse(fmt::format("hidden_act \"{}\" is not supported", printable(activation)));
  }
  // On a llama it puts a bias on the output projection too.
  fields.must_be("attention_bias", false);
  fields.must_be("mlp_bias", false);
  fields.must_be("partial_rotary_factor", 1.0);
  if (shape.heads % shape.kv_heads != 0) {
    fields.refuse("num_attention_heads is no multiple of num_key_value_heads");
  }
  if (shape.head_width % 2 != 0) fields.refuse("head_dim is odd: its pairs cannot be turned");
  check_heads(shape, fields);
  return shape;
}

Json parsed(const std::string& text, const std::string& name) {
  check_strict_json(text, name, ErrorKind::kData);
  return Json::parse(text);
}

}  // namespace

ModelShape parse_model_json(const std::string& text, const std::string& name) {
  const Json json = parsed(text, name);
  const Fields fields(json, name);
  if (!json.is_object()) fields.refuse("not a JSON object");
  for (const char* other :
       {"quantization_config", "num_local_experts", "num_experts", "n_routed_experts"}) {
    if (fields.has(other)) fields.refuse(fmt::format("{} is not supported", other));
  }
  if (fields.has("auto_map")) {
    fields.refuse(
        "auto_map names code of the model's own, which is not run here; if model_type says all "
        "there is to it, remove auto_map");
  }
  const auto type = fields.get<std::string>("model_type", "");
  if (type == "gpt2") return read_gpt2(fields);
  if (type == "llama" || type == "qwen2" || type == "mistral") {
    return read_llama(json, fields, type, name);
  }
  fields.refuse(fmt::format(
      "model_type \"{}\" is not supported; gpt2, llama, mistral and qwen2 are", printable(type)));
}

ModelShape read_model_json(const std::filesystem::path& folder) {
  if (!has_entry(folder, "config.json")) {
    throw Error(ErrorKind::kData, fmt::format("{}: no such file; model.path must be a Hugging Face "
                                              "model folder, as a run's checkpoints are too",
                                              (folder / "config.json").string()));
  }
  const InputFile file(folder, "config.json");
  return parse_model_json(file.text(kLargestModelJson), file.path().string());
}

std::string dropout_in(const std::filesystem::path& folder) {
  const InputFile file(folder, "config.json");
  const Json json = parsed(file.text(kLargestModelJson), file.path().string());
  const Fields fields(json, file.path().string());
  std::string rates;
  for (const char* name : {"attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout"}) {
    const float rate = fields.number(name, 0.0F, /*may_be_zero=*/true);
    if (rate > 0) rates += fmt::format("{}{} {}", rates.empty() ? "" : ", ", name, rate);
  }
  return rates;
}

}  // namespace sluice

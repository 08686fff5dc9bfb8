// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/resolve.h"

#include <fmt/core.h>

#include <algorithm>

#include "devices/base/error.h"
#include "engine/config/keys.h"
#include "engine/config/place_rules.h"
#include "engine/data/token_files.h"
#include "engine/files/model_json.h"

namespace sluice {
namespace {

constexpr std::int64_t kDefaultSeqLen = 1024;

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorKind::kConfig, what); }

bool is_default(const LoadedConfig& loaded, const char* key) {
  const std::string& origin = loaded.origin.at(key);
  return origin == "default" || origin.rfind("preset", 0) == 0;
}

bool has_bin_shards(const DataConfig& data) {
  return std::any_of(data.train.begin(), data.train.end(), [](const std::string& path) {
    return std::filesystem::path(path).extension() == ".bin";
  });
}

bool is_bytes(const DataConfig& data) {
  return data.tokens ? *data.tokens == TokenFormat::kBytes : !has_bin_shards(data);
}

// config.json decides the shape; a key that says something else is a mistake.
void take_shape_of_folder(LoadedConfig& loaded) {
  RunConfig& config = loaded.config;
  RunConfig from_folder = config;
  from_folder.model.shape = read_model_json(config.model.path);
  for (const Key& key : config_keys()) {
    const std::string& name = key.spec.name;
    if (name.rfind("model.", 0) != 0 || name == "model.path" || name == "model.init") continue;
    const std::string said = key.write(config);
    const std::string stored = key.write(from_folder);
    std::string& origin = loaded.origin.at(name);
    if (origin != "default" && said != stored && said != "0") {
      refuse(fmt::format("{}: {} is {}, but {} has {}; leave the key out", origin, name, said,
                         (config.model.path / "config.json").string(), stored));
    }
    if (origin == "default") origin = (config.model.path / "config.json").string();
  }
  config.model.shape = from_folder.model.shape;
}

void complete_own_shape(LoadedConfig& loaded) {
  ModelShape& shape = loaded.config.model.shape;
  if (shape.layers < 1 || shape.width < 1 || shape.heads < 1) {
    refuse(
        "no model: set model.layers, model.width and model.heads, or model.path to a Hugging Face "
        "folder");
  }
  if (shape.family == Family::kLlama) {
    if (is_default(loaded, "model.tied")) shape.tied = false;
    if (is_default(loaded, "model.bias")) shape.bias = false;
    if (shape.bias) refuse("model.bias: a llama has none; model.qkv_bias gives q, k and v theirs");
  } else if (shape.qkv_bias) {
    refuse("model.qkv_bias is a llama's; a gpt2 has model.bias");
  }
  if (shape.kv_heads == 0) shape.kv_heads = shape.heads;
  if (shape.head_width == 0) {
    if (shape.width % shape.heads != 0) {
      refuse(
          fmt::format("model.width {} is no multiple of model.heads {}", shape.width, shape.heads));
    }
    shape.head_width = shape.width / shape.heads;
  }
  if (shape.ffn_width == 0) {
    shape.ffn_width = shape.family == Family::kGpt2 ? 4 * shape.width
                                                    : round_up(divide_up(8 * shape.width, 3), 64);
  }
  if (shape.vocabulary == 0) {
    if (!is_bytes(loaded.config.data)) {
      refuse("model.vocab is needed with .bin shards: the number of token ids, 50257 for GPT-2");
    }
    shape.vocabulary = 256;
  }
  if (shape.context == 0) {
    shape.context = loaded.config.data.seq_len > 0 ? loaded.config.data.seq_len : kDefaultSeqLen;
  }
}

void check_shape(const ModelShape& shape) {
  if (shape.heads % shape.kv_heads != 0) {
    refuse(fmt::format("model.heads {} is no multiple of model.kv_heads {}", shape.heads,
                       shape.kv_heads));
  }
  if (shape.family == Family::kGpt2 && shape.kv_heads != shape.heads) {
    refuse(
        "model.kv_heads: a gpt2 has as many as model.heads; fewer need model.family = \"llama\"");
  }
  if (shape.family == Family::kGpt2 && shape.head_width * shape.heads != shape.width) {
    refuse(fmt::format("model.head_width {} times model.heads {} must be model.width {} in a gpt2",
                       shape.head_width, shape.heads, shape.width));
  }
  if (shape.head_width > 256) {
    refuse(fmt::format("model.head_width {} is not supported: at most 256", shape.head_width));
  }
  if (shape.family == Family::kLlama && shape.head_width % 2 != 0) {
    refuse(fmt::format("model.head_width {} must be even for rotary positions", shape.head_width));
  }
}

void check_data(const RunConfig& config) {
  const ModelShape& shape = config.model.shape;
  const bool none = config.data.train.empty() && config.data.val.empty();
  if (!none && is_bytes(config.data)) check_bytes_fit(shape.vocabulary);
  if (shape.window > 0 && config.data.seq_len > shape.window) {
    refuse(fmt::format(
        "data.seq_len {} is longer than the sliding_window {} of {}: longer sequences are not "
        "supported there",
        config.data.seq_len, shape.window, (config.model.path / "config.json").string()));
  }
  if (config.data.seq_len > shape.context) {
    refuse(fmt::format("data.seq_len {} is longer than model.context {}", config.data.seq_len,
                       shape.context));
  }
}

void check_place(const PlaceConfig& place, std::int64_t layers) {
  const auto check = [&](const char* key, const PlaceRules& rules) {
    for (const PlaceRule& rule : rules) {
      if (const std::int64_t block = last_block(rule.layers); block >= layers) {
        refuse(
            fmt::format("{}: layers \"{}\" names block {}, the model's last is {}; \"*\" names "
                        "all that no rule before it does",
                        key, rule.layers, block, layers - 1));
      }
    }
  };
  check("place.weights", place.weights);
  check("place.gradients", place.gradients);
  check("place.optimizer", place.optimizer);
  check("place.activations", place.activations);
}

void check_batch(const TrainConfig& train) {
  if (train.micro_batch > 0 && train.global_batch % train.micro_batch != 0) {
    refuse(fmt::format("train.global_batch {} is no multiple of train.micro_batch {}",
                       train.global_batch, train.micro_batch));
  }
  if ((train.groups & (train.groups - 1)) != 0) {
    refuse(fmt::format("train.groups {} is no power of two", train.groups));
  }
  const std::int64_t parts = train.global_batch / std::max<std::int64_t>(1, train.micro_batch);
  if (parts % train.groups != 0) {
    refuse(fmt::format("train.groups {} must divide the {} {} of a step", train.groups, parts,
                       train.micro_batch > 0 ? "micro-batches" : "sequences"));
  }
}

void settle_update(LoadedConfig& loaded) {
  RunConfig& config = loaded.config;
  const bool during_backward = config.place.update == UpdateTiming::kBackward;
  if (during_backward && config.train.clip > 0) {
    refuse(fmt::format(
        "place.update = \"backward\" cannot clip: the norm is known after backward; set train.clip "
        "= 0 (it is {}) or place.update = \"deferred\"",
        config.train.clip));
  }
  if (config.train.on_nonfinite != OnNonFinite::kSkip) return;
  if (during_backward) {
    refuse(
        "train.on_nonfinite = \"skip\" needs the norm before any update; set place.update = "
        "\"deferred\"");
  }
  if (config.place.update == UpdateTiming::kAuto) {
    config.place.update = UpdateTiming::kDeferred;
    loaded.origin["place.update"] = "train.on_nonfinite";
  }
}

void settle_schedule(LoadedConfig& loaded) {
  RunConfig& config = loaded.config;
  const bool has_length = config.train.steps || config.train.epochs || config.schedule.decay_steps;
  if (!has_length && is_default(loaded, "schedule.kind")) {
    config.schedule.kind = ScheduleKind::kConstant;
    loaded.origin["schedule.kind"] = "default: the length of the run is open";
  }
}

}  // namespace

const char* preset_text(Preset preset) {
  if (preset == Preset::kFinetune) {
    return R"(
optimizer.beta2 = 0.999
optimizer.weight_decay = 0.0
schedule.kind = "linear"
schedule.min_lr_ratio = 0.0
)";
  }
  return R"(
optimizer.beta2 = 0.95
optimizer.weight_decay = 0.1
schedule.kind = "cosine"
schedule.min_lr_ratio = 0.1
)";
}

void resolve(LoadedConfig& loaded) {
  RunConfig& config = loaded.config;
  if (config.model.path.empty()) {
    complete_own_shape(loaded);
  } else {
    take_shape_of_folder(loaded);
  }
  if (config.data.seq_len == 0) {
    config.data.seq_len = std::min(config.model.shape.longest(), kDefaultSeqLen);
  }
  check_shape(config.model.shape);
  check_data(config);
  check_place(config.place, config.model.shape.layers);
  check_batch(config.train);
  if (!config.train.grad_dtype) {
    config.train.grad_dtype = config.train.dtype;
    loaded.origin["train.grad_dtype"] = "train.dtype";
  }
  settle_update(loaded);
  settle_schedule(loaded);
}

void check_trainable(const RunConfig& config) {
  const TrainConfig& train = config.train;
  if (config.data.train.empty()) {
    refuse("nothing to train on: set data.train to files, folders or globs");
  }
  const bool by_loss = train.target_loss || train.patience;
  if (!train.steps && !train.epochs && !by_loss) {
    refuse(
        "nothing ends this run: set train.steps, train.epochs, train.target_loss or "
        "train.patience");
  }
  if (by_loss && config.eval.every == 0) {
    refuse("train.target_loss and train.patience need validations: set eval.every to some steps");
  }
  if (by_loss && config.data.val.empty() && config.data.val_fraction == 0) {
    refuse("train.target_loss and train.patience need data.val, or data.val_fraction above 0");
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/keys.h"

#include <algorithm>

#include "devices/base/nearest.h"

// Names a field of RunConfig, const or not.
#define SLUICE_FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

namespace sluice {
namespace {

constexpr Range kPositive{.low = 1};
constexpr Range kNotNegative{.low = 0};
constexpr double kMostSteps = 1e12;  // no run is longer, and sums of steps stay exact
constexpr Range kSteps{.low = 1, .high = kMostSteps};
constexpr Range kWarmup{.low = 0, .high = kMostSteps};
constexpr Range kEpochs{.low = 0, .high = 1e6, .open_low = true};
constexpr Range kAboveZero{.low = 0, .open_low = true};
// What stays a number, and no zero, in the fp32 that kernels compute in.
constexpr Range kRate{.low = 0, .high = 1e38};
constexpr Range kEpsilon{.low = 1e-30, .high = 1e6};
constexpr Range kTheta{.low = 1, .high = 1e30};
constexpr Range kMemory{.low = 0, .high = 0.9999999};
constexpr Range kShare{.low = 0, .high = 1};
constexpr Range kBelowOne{.low = 0, .high = 1, .open_high = true};
constexpr Range kOrWholeModel{.low = 0, .high = 1 << 20};
constexpr Range kLayers{.low = 0, .high = 4096};
constexpr Range kGlobalBatch{.low = 1, .high = 1 << 16};

template <typename Access>
Key key(KeySpec spec, Access access) {
  Key out;
  const RunConfig defaults;
  out.type = type_text(access(defaults), spec);
  out.read = [spec, access](RunConfig& config, const ConfigValue& value,
                            const std::filesystem::path& folder) {
    read_as(value, ReadContext{spec, folder}, access(config));
  };
  out.write = [spec, access](const RunConfig& config) { return write_as(access(config), spec); };
  out.spec = std::move(spec);
  return out;
}

void add_model_keys(std::vector<Key>& keys) {
  keys.push_back(key({"model.path",
                      "Hugging Face folder: config.json and safetensors; its weights are the start",
                      {"model_name_or_path"}},
                     SLUICE_FIELD(model.path)));
  keys.push_back(key({"model.init", "\"random\": fresh weights in the shape of model.path"},
                     SLUICE_FIELD(model.init)));
  keys.push_back(key({"model.family", "kind of a model of one's own", {"model_type"}},
                     SLUICE_FIELD(model.shape.family)));
  const auto add_size = [&](const char* name, const char* help, std::vector<std::string> aliases,
                            auto access, Range range = kOrWholeModel) {
    keys.push_back(key({name, help, std::move(aliases), range}, access));
  };
  add_size("model.layers", "transformer blocks", {"n_layer", "num_hidden_layers"},
           SLUICE_FIELD(model.shape.layers), kLayers);
  add_size("model.width", "elements of the residual stream", {"n_embd", "hidden_size"},
           SLUICE_FIELD(model.shape.width));
  add_size("model.heads", "attention heads", {"n_head", "num_attention_heads"},
           SLUICE_FIELD(model.shape.heads));
  add_size("model.kv_heads", "key and value heads; 0: as many as heads", {"num_key_value_heads"},
           SLUICE_FIELD(model.shape.kv_heads));
  add_size("model.head_width", "elements of a head; 0: width / heads", {"head_dim"},
           SLUICE_FIELD(model.shape.head_width));
  add_size("model.ffn_width", "feed-forward width; 0: 4 widths (gpt2), 8/3 up to 64s (llama)",
           {"n_inner", "intermediate_size"}, SLUICE_FIELD(model.shape.ffn_width));
  add_size("model.vocab", "token ids; 0: 256 for bytes", {"vocab_size"},
           SLUICE_FIELD(model.shape.vocabulary));
  add_size("model.context", "longest sequence; 0: data.seq_len",
           {"n_positions", "n_ctx", "max_position_embeddings"}, SLUICE_FIELD(model.shape.context));
  keys.push_back(key({"model.tied", "the head is the embedding matrix", {"tie_word_embeddings"}},
                     SLUICE_FIELD(model.shape.tied)));
  keys.push_back(key({"model.bias", "biases of a gpt2"}, SLUICE_FIELD(model.shape.bias)));
  keys.push_back(key({"model.qkv_bias", "biases of q, k, v of a llama", {"attention_bias"}},
                     SLUICE_FIELD(model.shape.qkv_bias)));
  keys.push_back(key({"model.gelu", "form of GELU of a gpt2", {"activation_function"}},
                     SLUICE_FIELD(model.shape.gelu)));
  keys.push_back(key(
      {"model.norm_eps", "added to a variance", {"layer_norm_epsilon", "rms_norm_eps"}, kEpsilon},
      SLUICE_FIELD(model.shape.norm_eps)));
  keys.push_back(key({"model.rope_theta", "base of rotary positions", {"rope_theta"}, kTheta},
                     SLUICE_FIELD(model.shape.rope_theta)));
  keys.push_back(key({"model.init_std", "spread of fresh weights", {"initializer_range"}, kRate},
                     SLUICE_FIELD(model.shape.init_std)));
}

void add_data_keys(std::vector<Key>& keys) {
  keys.push_back(key({"data.train", "files, folders, globs to train on", {"train_file"}},
                     SLUICE_FIELD(data.train)));
  keys.push_back(key({"data.val", "files, folders, globs held out", {"validation_file"}},
                     SLUICE_FIELD(data.val)));
  keys.push_back(key({"data.val_fraction",
                      "share of data.train, its end, held out without data.val",
                      {"val_set_size"},
                      kBelowOne},
                     SLUICE_FIELD(data.val_fraction)));
  keys.push_back(key({"data.tokens", "text as bytes, or llm.c shards; auto: by extension"},
                     SLUICE_FIELD(data.tokens)));
  keys.push_back(key({"data.seq_len",
                      "tokens of context per sequence; 0: model.context, or 1024",
                      {"max_seq_length", "max_length", "sequence_len", "block_size"},
                      kOrWholeModel},
                     SLUICE_FIELD(data.seq_len)));
}

void add_train_keys(std::vector<Key>& keys) {
  keys.push_back(key({"train.steps", "stop after so many steps", {"max_steps"}, kSteps, "none"},
                     SLUICE_FIELD(train.steps)));
  keys.push_back(key({"train.epochs",
                      "stop after so many passes over the data",
                      {"num_train_epochs", "num_epochs"},
                      kEpochs,
                      "none"},
                     SLUICE_FIELD(train.epochs)));
  keys.push_back(key(
      {"train.target_loss", "stop when the validation loss is no higher", {}, kAboveZero, "none"},
      SLUICE_FIELD(train.target_loss)));
  keys.push_back(key({"train.patience",
                      "stop after so many validations without a new best",
                      {"early_stopping_patience"},
                      kPositive,
                      "none"},
                     SLUICE_FIELD(train.patience)));
  keys.push_back(
      key({"train.global_batch", "sequences of a step", {"global_batch_size"}, kGlobalBatch},
          SLUICE_FIELD(train.global_batch)));
  keys.push_back(key({"train.micro_batch",
                      "sequences of a pass; 0: the planner chooses",
                      {"per_device_train_batch_size", "micro_batch_size"},
                      kNotNegative},
                     SLUICE_FIELD(train.micro_batch)));
  keys.push_back(key({"train.dtype", "of weights and activations", {"torch_dtype"}},
                     SLUICE_FIELD(train.dtype)));
  keys.push_back(
      key({"train.grad_dtype", "of a gradient that leaves the device; auto: train.dtype"},
          SLUICE_FIELD(train.grad_dtype)));
  keys.push_back(
      key({"train.groups", "micro-batch sums added in a tree: a power of two", {}, kPositive},
          SLUICE_FIELD(train.groups)));
  keys.push_back(key({"train.seed", "of weights and data order", {"data_seed"}, kNotNegative},
                     SLUICE_FIELD(train.seed)));
  keys.push_back(key(
      {"train.clip", "largest gradient norm; 0: off", {"max_grad_norm", "grad_clip"}, kNotNegative},
      SLUICE_FIELD(train.clip)));
  keys.push_back(
      key({"train.on_nonfinite", "at a gradient that is no number: end, or skip the step"},
          SLUICE_FIELD(train.on_nonfinite)));
  keys.push_back(
      key({"train.max_skips", "steps skipped in a row before the run ends", {}, kPositive},
          SLUICE_FIELD(train.max_skips)));
  keys.push_back(key({"train.preset", "defaults of beta2, weight_decay and schedule"},
                     SLUICE_FIELD(train.preset)));
}

void add_optimizer_keys(std::vector<Key>& keys) {
  keys.push_back(key({"optimizer.lr", "peak learning rate of AdamW", {"learning_rate"}, kRate},
                     SLUICE_FIELD(optimizer.lr)));
  keys.push_back(key({"optimizer.beta1", "memory of the first moment", {"adam_beta1"}, kMemory},
                     SLUICE_FIELD(optimizer.beta1)));
  keys.push_back(key({"optimizer.beta2", "memory of the second moment", {"adam_beta2"}, kMemory},
                     SLUICE_FIELD(optimizer.beta2)));
  keys.push_back(key({"optimizer.eps", "added to the denominator", {"adam_epsilon"}, kEpsilon},
                     SLUICE_FIELD(optimizer.eps)));
  keys.push_back(
      key({"optimizer.weight_decay", "decoupled, on matrices alone", {"weight_decay"}, kRate},
          SLUICE_FIELD(optimizer.weight_decay)));
  keys.push_back(
      key({"optimizer.moments", "storage of both moments"}, SLUICE_FIELD(optimizer.moments)));
  keys.push_back(
      key({"schedule.kind", "course of the learning rate", {"lr_scheduler_type", "lr_scheduler"}},
          SLUICE_FIELD(schedule.kind)));
  keys.push_back(key({"schedule.warmup_steps", "steps of linear rise", {"warmup_steps"}, kWarmup},
                     SLUICE_FIELD(schedule.warmup_steps)));
  keys.push_back(key({"schedule.min_lr_ratio",
                      "last rate as a share of the peak",
                      {"min_lr_rate", "cosine_min_lr_ratio"},
                      kShare},
                     SLUICE_FIELD(schedule.min_lr_ratio)));
  keys.push_back(key({"schedule.decay_steps",
                      "step of the last rate (linear, cosine), or length of the decay (wsd)",
                      {"num_decay_steps", "lr_decay_iters"},
                      kSteps},
                     SLUICE_FIELD(schedule.decay_steps)));
}

void add_place_keys(std::vector<Key>& keys) {
  keys.push_back(
      key({"limits.device", "device memory to use", {}, kPositive}, SLUICE_FIELD(limits.device)));
  keys.push_back(key({"limits.host", "RAM to use", {}, kPositive}, SLUICE_FIELD(limits.host)));
  keys.push_back(
      key({"limits.storage", "disk to use", {}, kNotNegative}, SLUICE_FIELD(limits.storage)));
  keys.push_back(key({"limits.storage_path", "folder of the swap file; empty: the run directory"},
                     SLUICE_FIELD(limits.storage_path)));
  keys.push_back(key({"limits.threads", "cores to use", {}, {.low = 1, .high = 1024}},
                     SLUICE_FIELD(limits.threads)));
  keys.push_back(key({"limits.accelerator",
                      "device that computes: auto (a GPU if there is one), host, or one by name"},
                     SLUICE_FIELD(limits.accelerator)));
  keys.push_back(key({"limits.io", "how storage is read and written"}, SLUICE_FIELD(limits.io)));
  keys.push_back(key({"limits.storage_checksum", "check what is read from storage"},
                     SLUICE_FIELD(limits.storage_checksum)));
  keys.push_back(key({"place.weights", "home of weights"}, SLUICE_FIELD(place.weights)));
  keys.push_back(key({"place.gradients", "home of gradients"}, SLUICE_FIELD(place.gradients)));
  keys.push_back(key({"place.optimizer", "home of master weights and moments"},
                     SLUICE_FIELD(place.optimizer)));
  keys.push_back(
      key({"place.activations", "home of saved layer inputs"}, SLUICE_FIELD(place.activations)));
  keys.push_back(key({"place.wave", "micro-batches through a layer before the next layer"},
                     SLUICE_FIELD(place.wave)));
  keys.push_back(
      key({"place.recompute", "forward again in backward"}, SLUICE_FIELD(place.recompute)));
  keys.push_back(key({"place.update", "when Adam runs"}, SLUICE_FIELD(place.update)));
  keys.push_back(key({"place.adam", "where Adam runs"}, SLUICE_FIELD(place.adam)));
  keys.push_back(
      key({"place.fetch_ahead", "layers fetched before their use", {}, {.low = 1, .high = 64}},
          SLUICE_FIELD(place.fetch_ahead)));
  keys.push_back(
      key({"place.drain_late", "layers a drain may trail its producer", {}, {.low = 0, .high = 64}},
          SLUICE_FIELD(place.drain_late)));
  keys.push_back(key({"place.segment",
                      "optimizer state read, updated, written at a time",
                      {},
                      {.low = 16 << 10}},  // 2,048 parameters with bf16 moments, the least there is
                     SLUICE_FIELD(place.segment)));
  keys.push_back(
      key({"place.overlap", "false: one operation at a time"}, SLUICE_FIELD(place.overlap)));
}

void add_report_keys(std::vector<Key>& keys) {
  keys.push_back(key({"eval.every",
                      "steps between validations; 0: after the last alone",
                      {"eval_steps"},
                      kNotNegative},
                     SLUICE_FIELD(eval.every)));
  keys.push_back(
      key({"eval.sequences", "of a validation; 0: all that is held out", {}, kNotNegative},
          SLUICE_FIELD(eval.sequences)));
  keys.push_back(
      key({"checkpoint.every", "steps; auto: as often as costs 1 %", {"save_steps"}, kPositive},
          SLUICE_FIELD(checkpoint.every)));
  keys.push_back(key({"checkpoint.keep", "checkpoints kept", {"save_total_limit"}, kPositive},
                     SLUICE_FIELD(checkpoint.keep)));
  keys.push_back(key({"log.every", "steps between progress lines", {"logging_steps"}, kPositive},
                     SLUICE_FIELD(log.every)));
  keys.push_back(
      key({"log.digest", "digest of the state at every step"}, SLUICE_FIELD(log.digest)));
  keys.push_back(
      key({"log.trace", "steps in trace.json", {}, {}, "none"}, SLUICE_FIELD(log.trace)));
}

std::string_view last_part(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool is_section(std::string_view name) {
  return std::any_of(config_keys().begin(), config_keys().end(), [&](const Key& k) {
    return k.spec.name.substr(0, k.spec.name.find('.')) == name;
  });
}

}  // namespace

const std::vector<Key>& config_keys() {
  static const std::vector<Key> keys = [] {
    std::vector<Key> all;
    add_model_keys(all);
    add_data_keys(all);
    add_train_keys(all);
    add_optimizer_keys(all);
    add_place_keys(all);
    add_report_keys(all);
    return all;
  }();
  return keys;
}

const Key* find_key(std::string_view name) {
  const std::size_t dot = name.find('.');
  const bool alias_may_be = dot == std::string_view::npos || is_section(name.substr(0, dot));
  for (const Key& candidate : config_keys()) {
    if (candidate.spec.name == name) return &candidate;
  }
  for (const Key& candidate : config_keys()) {
    const std::vector<std::string>& aliases = candidate.spec.aliases;
    const std::string_view bare = dot == std::string_view::npos ? name : name.substr(dot + 1);
    if (alias_may_be && std::find(aliases.begin(), aliases.end(), bare) != aliases.end()) {
      return &candidate;
    }
  }
  return nullptr;
}

std::string nearest_key(std::string_view name) {
  std::string best;
  std::size_t least = static_cast<std::size_t>(-1);
  for (const Key& candidate : config_keys()) {
    // Right word in the wrong section counts as one slip.
    std::size_t distance =
        std::min(edit_distance(name, candidate.spec.name),
                 1 + edit_distance(last_part(name), last_part(candidate.spec.name)));
    for (const std::string& alias : candidate.spec.aliases) {
      distance = std::min(distance, 1 + edit_distance(last_part(name), alias));
    }
    if (distance < least) {
      least = distance;
      best = candidate.spec.name;
    }
  }
  return best;
}

}  // namespace sluice

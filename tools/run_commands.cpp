// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "devices/base/error.h"
#include "engine/files/model_json.h"
#include "engine/run/evaluate.h"
#include "engine/run/saved_model.h"
#include "tools/commands.h"

namespace sluice {
namespace {

struct EvalInput {
  std::filesystem::path model;
  DType dtype = DType::kFloat32;
  DataConfig data;
  std::int64_t length = 0;
};

// A run directory brings its config; a model folder only its shape; a config names
// a model folder or the run it made.
EvalInput eval_input(const EvalOptions& options) {
  const std::filesystem::path path = options.what;
  EvalInput input;
  if (std::filesystem::is_directory(path) && !std::filesystem::exists(path / "config.toml")) {
    input.model = model_folder_of(path);
    input.length = read_model_json(input.model).context;
    return input;
  }
  const bool run = std::filesystem::is_directory(path);
  const LoadedConfig loaded = load_config(run ? path / "config.toml" : path, options.flags);
  const RunConfig& config = loaded.config;
  input.model = run ? model_folder_of(path)
                : !config.model.path.empty()
                    ? config.model.path
                    : model_folder_of(std::filesystem::path("runs") / loaded.name);
  input.dtype = config.train.dtype;
  input.data = config.data;
  input.length = config.data.seq_len;
  return input;
}

TokenRange eval_tokens(const EvalInput& input, const EvalOptions& options,
                       std::int64_t vocabulary) {
  if (!options.data.empty()) return open_tokens(options.data, input.data.tokens, vocabulary);
  if (input.data.train.empty() && input.data.val.empty()) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{} names no data: give --data FILE", options.what));
  }
  const TrainingData data = open_training_data(input.data, vocabulary);
  if (data.val.count < 2) {
    throw Error(ErrorKind::kData,
                "nothing is held out: set data.val_fraction, or give --data FILE");
  }
  return data.val;
}

}  // namespace

void write_output(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::cout << text << std::flush;
    return;
  }
  std::ofstream file(path, std::ios::binary);
  file << text << std::flush;
  if (!file) throw Error(ErrorKind::kIo, fmt::format("{}: cannot be written", path));
}

int run_train(const LoadedConfig& loaded, const TrainOptions& options) {
  const TrainResult result = train(loaded, options);
  fmt::print("{}\n", result.reason);
  return result.exit_code();
}

int run_verify(const LoadedConfig& loaded, const VerifyOptions& options) {
  const VerifyResult result = verify(loaded, options);
  if (!result.difference.empty()) {
    fmt::print("verify: {}\n", result.difference);
    return 1;
  }
  fmt::print("verify: {} placements, all digests equal\n", result.placements);
  return 0;
}

int run_eval(const EvalOptions& options) {
  const EvalInput input = eval_input(options);
  constexpr std::int64_t kTokensAtOnce = 2048;
  const std::int64_t sequences = std::max<std::int64_t>(1, kTokensAtOnce / input.length);
  SavedModel saved(input.model, input.dtype, sequences, input.length);
  const TokenRange tokens = eval_tokens(input, options, saved.shape().vocabulary);
  const auto pass = saved.pass(sequences, input.length, ForwardOutput::kLosses);
  const EvaluationResult result = Evaluation(pass->workload, tokens, 0).run(*pass->executor);
  const bool bytes = saved.shape().vocabulary == 256;
  nlohmann::ordered_json json = {{"loss", result.loss},
                                 {"perplexity", result.perplexity()},
                                 {"bits_per_token", result.bits()},
                                 {"tokens", result.tokens}};
  if (bytes) json["bits_per_byte"] = result.bits();
  if (!options.json.empty()) write_output(options.json, json.dump(2) + "\n");
  if (options.json != "-") {
    fmt::print("loss {:.4f}  perplexity {:.3f}  {} {:.4f}  tokens {}\n", result.loss,
               result.perplexity(), bytes ? "bits_per_byte" : "bits_per_token", result.bits(),
               result.tokens);
  }
  return 0;
}

int run_generate(const std::filesystem::path& model, const GenerateOptions& options) {
  const bool bytes = is_byte_model(model);
  bool first = true;
  if (bytes) {
    for (const std::int32_t id : options.prompt) std::cout.put(static_cast<char>(id));
  }
  generate(model, options, [&](std::int32_t token) {
    if (bytes) {
      std::cout.put(static_cast<char>(token)).flush();
    } else {
      std::cout << (first ? "" : " ") << token << std::flush;
    }
    first = false;
  });
  std::cout << std::endl;
  return 0;
}

}  // namespace sluice

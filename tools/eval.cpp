// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>

#include "devices/base/error.h"
#include "engine/data/token_source.h"
#include "engine/files/input_file.h"
#include "engine/files/model_json.h"
#include "engine/run/evaluate.h"
#include "engine/run/saved_model.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {
namespace {

struct EvalInput {
  std::filesystem::path model;
  DType dtype = DType::kFloat32;
  DataConfig data;
  std::int64_t length = 0;
};

// A run directory brings its config; a config names a model folder or the run it made;
// a model folder brings its shape, and the flags all else.
LoadedConfig eval_config(const EvalOptions& options, bool is_folder) {
  const std::filesystem::path path = options.what;
  if (!is_folder) return load_config(path, options.flags);
  if (has_entry(path, "config.toml")) {
    const InputFile file(path, "config.toml");  // a stranger's, maybe
    return load_config_text(file.text({1 << 20}), file.path().string(),
                            std::filesystem::absolute(path), options.flags);
  }
  std::vector<ConfigFlag> flags = {{"model.path", model_folder_of(path).string()}};
  flags.insert(flags.end(), options.flags.begin(), options.flags.end());
  return load_config("", flags);
}

EvalInput eval_input(const EvalOptions& options, const LoadedConfig& loaded, bool is_folder) {
  const RunConfig& config = loaded.config;
  EvalInput input{.dtype = config.train.dtype, .data = config.data};
  input.length = config.data.seq_len;
  if (is_folder) {
    input.model = model_folder_of(options.what);
    if (loaded.origin.at("data.seq_len") == "default") input.length = config.model.shape.longest();
    if (loaded.origin.at("train.dtype") == "default") input.dtype = DType::kFloat32;
    return input;
  }
  input.model = !config.model.path.empty()
                    ? config.model.path
                    : model_folder_of(std::filesystem::path("runs") / loaded.name);
  return input;
}

// Tokens are read at any offset, so what comes through a pipe is kept in memory first, for as long
// as the process lives.
std::string standard_input_as_file() {
  const int file = ::memfd_create("stdin", MFD_CLOEXEC);
  std::array<char, 1 << 16> block;
  for (ssize_t got; (got = ::read(STDIN_FILENO, block.data(), block.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || ::write(file, block.data(), static_cast<std::size_t>(got)) != got) {
      throw Error(ErrorKind::kIo,
                  with_errno("standard input: cannot be read", errno) + "; give --data a file");
    }
  }
  if (::lseek(file, 0, SEEK_CUR) == 0) {
    throw Error(ErrorKind::kData,
                "standard input: is empty; lead text to it, or give --data a file");
  }
  return fmt::format("/proc/self/fd/{}", file);
}

// What comes through a pipe has no name that says anything.
TokenRange standard_input_tokens(const EvalInput& input, std::int64_t vocabulary) {
  const std::string file = standard_input_as_file();
  try {
    return open_tokens({file}, input.data.tokens, vocabulary);
  } catch (const Error& error) {
    std::string what = error.what();
    const std::size_t at = what.find(file);
    if (at != std::string::npos) what.replace(at, file.size(), "standard input");
    throw Error(error.kind(), what);
  }
}

TokenRange eval_tokens(const EvalInput& input, const EvalOptions& options,
                       std::int64_t vocabulary) {
  if (options.data == std::vector<std::string>{"-"}) {
    return standard_input_tokens(input, vocabulary);
  }
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

int run_eval(const EvalOptions& options) {
  require_writable(options.json);
  const bool is_folder = std::filesystem::is_directory(options.what);
  const LoadedConfig loaded = eval_config(options, is_folder);
  if (options.print_config) {
    fmt::print("{}", print_config(loaded));
    return 0;
  }
  const EvalInput input = eval_input(options, loaded, is_folder);
  constexpr std::int64_t kTokensAtOnce = 2048;
  const std::int64_t sequences = std::max<std::int64_t>(1, kTokensAtOnce / input.length);
  SavedModel saved(input.model, input.dtype, sequences, input.length,
                   loaded.config.limits.accelerator);
  const TokenRange tokens = eval_tokens(input, options, saved.shape().vocabulary);
  const auto pass = saved.pass(sequences, input.length, ForwardOutput::kLosses);
  const EvaluationResult result = Evaluation(pass->workload, tokens, 0).run(*pass->executor);
  if (!std::isfinite(result.loss)) {
    throw Error(ErrorKind::kNonFinite,
                fmt::format("{}: the loss is not a finite number", input.model.string()));
  }
  const bool bytes = saved.shape().vocabulary == 256 || input.data.tokens == TokenFormat::kBytes;
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

}  // namespace sluice

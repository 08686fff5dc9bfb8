// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include "devices/base/error.h"
#include "engine/files/model_json.h"
#include "engine/files/output_file.h"
#include "engine/run/evaluate.h"
#include "engine/run/saved_model.h"

namespace sluice {
namespace {

// One forward pass over the tokens so far.
class Ask final : public StepListener {
 public:
  explicit Ask(const Workload& workload) : layout_(batch_layout(workload)) {}

  void set(std::span<const std::int32_t> tokens) { tokens_ = tokens; }
  std::span<const float> logits() const { return logits_; }

  bool prepare(std::int64_t step, std::span<std::byte> batch) override {
    if (step > 1) return false;
    fill_batch(layout_, batch, [&](std::int64_t, auto ids, auto targets) {
      std::copy(tokens_.begin(), tokens_.end(), ids.begin());
      std::fill(targets.begin(), targets.end(), -1);
      return 0;
    });
    return true;
  }
  void report(const StepReport& report) override {
    logits_.assign(report.logits.begin(), report.logits.end());
  }

 private:
  BatchLayout layout_;
  std::span<const std::int32_t> tokens_;
  std::vector<float> logits_;
};

std::int32_t draw(std::span<const float> logits, const GenerateOptions& options,
                  std::mt19937_64& random) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  };
  std::stable_sort(order.begin(), order.end(), likelier);
  if (options.temperature <= 0) return order.front();
  if (options.top_k > 0) {
    order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));
  }
  const double top = logits[static_cast<std::size_t>(order.front())];
  std::vector<double> sums;
  double sum = 0;
  for (const std::int32_t id : order) {
    sum += std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - top) /
                    options.temperature);
    sums.push_back(sum);
  }
  const double at = std::uniform_real_distribution<double>(0, sum)(random);
  const auto drawn = std::upper_bound(sums.begin(), sums.end(), at) - sums.begin();
  return order[std::min(static_cast<std::size_t>(drawn), order.size() - 1)];
}

}  // namespace

bool is_byte_model(const std::filesystem::path& model) {
  return read_model_json(model_folder_of(model)).vocabulary == 256;
}

// Each pass is exactly as long as the text so far (a program is built in well under a
// millisecond), so that nothing is padded and positions are those of training.
void generate(const std::filesystem::path& model, const GenerateOptions& options,
              const std::function<void(std::int32_t)>& token) {
  const std::filesystem::path folder = model_folder_of(model);
  const ModelShape shape = read_model_json(folder);
  for (const std::int32_t id : options.prompt) {
    if (id < 0 || id >= shape.vocabulary) {
      throw Error(
          ErrorKind::kConfig,
          fmt::format("prompt token {} is outside the vocabulary of {}: give ids from 0 to {}", id,
                      shape.vocabulary, shape.vocabulary - 1));
    }
  }
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    throw Error(ErrorKind::kConfig,
                fmt::format("--temperature is {}: give a number from 0", options.temperature));
  }
  if (options.prompt.empty()) throw Error(ErrorKind::kConfig, "the prompt is empty: give --prompt");
  const auto longest = std::min<std::int64_t>(
      shape.longest(), static_cast<std::int64_t>(options.prompt.size()) + options.tokens);
  SavedModel saved(folder, DType::kFloat32, 1, longest);
  std::vector<std::int32_t> text = options.prompt;
  std::mt19937_64 random(options.seed);
  std::optional<OutputFile> logits;
  if (!options.logits.empty()) logits.emplace(options.logits);
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const auto length = std::min<std::int64_t>(longest, static_cast<std::int64_t>(text.size()));
    const auto pass = saved.pass(1, length, ForwardOutput::kLogits);
    Ask ask(pass->workload);
    ask.set(std::span(text).last(static_cast<std::size_t>(length)));
    pass->executor->run(1, ask);
    if (std::any_of(ask.logits().begin(), ask.logits().end(),
                    [](float x) { return !std::isfinite(x); })) {
      throw Error(ErrorKind::kNonFinite,
                  fmt::format("{}: its logits are not finite numbers; its weights cannot be "
                              "sampled from",
                              folder.string()));
    }
    if (logits) logits->write(std::as_bytes(ask.logits()));
    text.push_back(draw(ask.logits(), options, random));
    token(text.back());
  }
}

}  // namespace sluice

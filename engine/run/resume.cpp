// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/resume.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/config/keys.h"

namespace sluice {
namespace {

// Of a model: where it came from. Not what it is.
constexpr std::array<std::string_view, 3> kOrigins = {"model.path", "model.init", "model.init_std"};
// What else decides which tokens come next.
constexpr std::array<std::string_view, 3> kOrder = {"data.seq_len", "data.tokens", "train.seed"};
// Where and how a run happens, and what it tells: no word about a change of these.
constexpr std::array<std::string_view, 7> kCircumstances = {
    "limits.", "place.", "log.", "eval.", "checkpoint.", "data.", "train.micro_batch"};

template <std::size_t n>
bool is_one_of(const std::string& key, const std::array<std::string_view, n>& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool is_fixed(const std::string& key) {
  return (key.rfind("model.", 0) == 0 && !is_one_of(key, kOrigins)) || is_one_of(key, kOrder);
}

bool is_circumstance(const std::string& key) {
  return is_one_of(key, kOrigins) ||
         std::any_of(kCircumstances.begin(), kCircumstances.end(),
                     [&](std::string_view prefix) { return key.rfind(prefix, 0) == 0; });
}

// What a drive does not give now it may give the next time; a run that went on from an older
// checkpoint would write over it. So the user decides.
[[noreturn]] void refuse_unreadable(const Error& error, const std::filesystem::path& checkpoint) {
  const std::string what = error.what();
  if (what.find(checkpoint.string()) == std::string::npos) throw error;  // the swap file's
  throw Error(ErrorKind::kIo,
              fmt::format("{}; where it stays so, move {} away to go on from an older checkpoint",
                          what, checkpoint.string()));
}

}  // namespace

std::map<std::string, std::string> values_of(const RunConfig& config) {
  std::map<std::string, std::string> values;
  for (const Key& key : config_keys()) values[key.spec.name] = key.write(config);
  return values;
}

DataIdentity identity_of(const TokenRange& tokens) {
  constexpr std::int64_t kStretches = 64, kLength = 64;
  std::vector<std::int32_t> sample;
  std::array<std::int32_t, kLength> stretch{};
  const std::int64_t length = std::min(kLength, tokens.count);
  for (std::int64_t i = 0; i < kStretches; ++i) {
    const auto part = std::span(stretch).first(static_cast<std::size_t>(length));
    // In double: 64 times a count of tokens may be more than 63 bits hold.
    const double share = static_cast<double>(i) / (kStretches - 1);
    tokens.read(static_cast<std::int64_t>(share * static_cast<double>(tokens.count - length)),
                part);
    sample.insert(sample.end(), part.begin(), part.end());
  }
  return {tokens.count, XXH3_64bits(sample.data(), sample.size() * sizeof(std::int32_t))};
}

Resume::Resume(const RunDirectory& folder) : folder_(folder.checkpoints()) {
  for (const FoundCheckpoint& found : find_checkpoints(folder_)) {
    try {
      candidates_.emplace_back(found.path);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kIo) refuse_unreadable(error, found.path);
      skip(found.step, error.what());
    }
  }
  if (!from_checkpoint() && std::filesystem::exists(folder.model())) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: holds a model but no checkpoint to resume from; --overwrite "
                            "starts again, --model.path {} with another --run-dir goes on from "
                            "its weights",
                            folder.path().string(), folder.model().string()));
  }
}

void Resume::skip(std::int64_t step, const std::string& why) {
  unsound_.insert(step);
  skipped_ += fmt::format("{}{}", skipped_.empty() ? "" : "; ", why);
  log_warn(fmt::format("skipped {}: {}", checkpoint_name(step), why));
}

void Resume::check(const RunConfig& config, const DataIdentity& data) const {
  if (candidates_.empty()) return;
  const Manifest& manifest = candidates_.front().manifest();
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: {}; --run-dir names another folder for another run",
                            candidates_.front().path().string(), what));
  };
  std::string fixed;  // all of them: one may follow from another, which the user typed
  std::vector<std::string> changed;
  for (const auto& [key, value] : values_of(config)) {
    const auto before = manifest.config.find(key);
    if (before == manifest.config.end() || before->second == value) continue;
    if (is_fixed(key)) {
      fixed += fmt::format("{} was {}, here it is {}, ", key, before->second, value);
    } else if (!is_circumstance(key)) {
      changed.push_back(
          fmt::format("{} is {} from here on, it was {}", key, value, before->second));
    }
  }
  if (!fixed.empty()) refuse(fixed + "and that cannot change on the way");
  for (const std::string& line : changed) log_info(line);
  if (data != manifest.data) {
    refuse(fmt::format("data.train was another stream of {} tokens, here it is one of {}",
                       manifest.data.tokens, data.tokens));
  }
}

RunState Resume::load(const Workload& workload, StateAccess& state) {
  while (!candidates_.empty()) {
    const CheckpointReader& reader = candidates_.front();
    const RunState run = reader.manifest().run;
    try {
      reader.load(workload, state);
      log_info(fmt::format(
          "resumed at step {}, sample {}, epoch {:.2f}, learning rate {:.2e}, last "
          "loss {:.4f}, from {}",
          run.step, run.samples, run.epoch, run.learning_rate, run.loss, reader.path().string()));
      return run;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kIo) refuse_unreadable(error, candidates_.front().path());
      if (error.kind() != ErrorKind::kData) throw;
      skip(run.step, error.what());
    }
    candidates_.erase(candidates_.begin());
  }
  throw Error(ErrorKind::kIo,
              fmt::format("{}: none of the checkpoints can be used: {}; --overwrite "
                          "starts again",
                          folder_.string(), skipped_));
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Going on from a checkpoint: which one, whether this config may, and its state into the
// tiers of whatever plan the run has now.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/config/run_config.h"
#include "engine/data/token_source.h"
#include "engine/files/run_directory.h"

namespace sluice {

// Every key of a config with its value.
std::map<std::string, std::string> values_of(const RunConfig& config);

// Tokens and stretches of the training stream, in the same time however long it is: a change of
// the same length between the stretches is not seen.
DataIdentity identity_of(const TokenRange& tokens);

class Resume {
 public:
  // Nothing to resume.
  Resume() = default;

  // The checkpoints of a run, newest first. What is none is said and skipped.
  // Error{kIo}: one cannot be read; the run has a model but no checkpoint, and would be lost.
  explicit Resume(const RunDirectory& folder);

  bool from_checkpoint() const { return !candidates_.empty() || !skipped_.empty(); }

  // Says what the config changes. Error{kConfig}, naming the key, where the result would be
  // no continuation: another model, other data, another order of them.
  void check(const RunConfig& config, const DataIdentity& data) const;

  // The state of the newest checkpoint that verifies. Error{kIo}: none does, or one
  // cannot be read.
  RunState load(const Workload& workload, StateAccess& state);

  // After load(): where the state came from, and why newer checkpoints did not serve.
  std::filesystem::path source() const { return candidates_.front().path(); }
  const std::string& skipped() const { return skipped_; }

  // Steps of the checkpoints that did not verify.
  const std::set<std::int64_t>& unsound() const { return unsound_; }

 private:
  void skip(std::int64_t step, const std::string& why);

  std::filesystem::path folder_;
  std::vector<CheckpointReader> candidates_;
  std::set<std::int64_t> unsound_;
  std::string skipped_;  // reasons
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a run keeps of itself: checkpoints on its way, a last one and model/ at its end.

#include <cstdint>
#include <optional>

#include "engine/checkpoint/checkpoint_saver.h"
#include "engine/config/load_config.h"
#include "engine/files/metrics.h"
#include "engine/files/run_directory.h"
#include "engine/run/resume.h"
#include "engine/run/step_log.h"
#include "offload/plan.h"

namespace sluice {

// Borrowed, for the life of a Saves.
struct SavesParts {
  const LoadedConfig& loaded;
  const Plan& plan;
  const RunDirectory& folder;
  StateAccess& state;
};

class Saves {
 public:
  explicit Saves(const SavesParts& parts) : parts_(parts) {}

  // Error{kNoFit}: the disk has no room for the checkpoints that are kept, one that is being
  // written, and model/. Error{kIo}: none can be written there. Known before the first step, and
  // not after the last.
  void check_room() const;

  // From here on checkpoints can be written: every so many steps, and after step `last`.
  void begin(const RunState& start, const std::set<std::int64_t>& unsound, std::int64_t last,
             const DataIdentity& data);
  CheckpointSaver& saver() { return *saver_; }

  // A checkpoint and model/ because somebody asked. A request that cannot be met is no
  // reason to lose the run.
  void on_request(const RunState& run, MetricsWriter& metrics, StepLog& log);

  // The last checkpoint, if it is not there yet, and model/. Error{kIo}: one of them is not.
  void at_end(const RunState& run, StepLog& log);

  // What at_end() takes, by forecast and by what was measured.
  Seconds time_at_end() const;

 private:
  void check_writable() const;
  void write_model() const;
  std::string write_checkpoint(const RunState& run, StepLog& log);

  SavesParts parts_;
  std::optional<CheckpointSaver> saver_;
};

}  // namespace sluice

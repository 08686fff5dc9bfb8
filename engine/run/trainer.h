// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The run's side of the training program: batches in, losses and norms out.

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "engine/config/run_config.h"
#include "engine/data/batches.h"
#include "engine/files/run_directory.h"
#include "engine/run/nonfinite.h"
#include "engine/run/step_log.h"
#include "engine/run/stop_request.h"
#include "engine/schedule.h"
#include "offload/execute.h"
#include "offload/operands.h"

namespace sluice {

// Borrowed, for the life of a Trainer.
struct TrainerParts {
  const RunConfig& config;
  const TrainingBatches& batches;
  const LearningRate& rate;
  RunDirectory& folder;  // of SAVE and STOP
  StepLog& log;
  const StopRequest& stop;
};

// The numbers of AdamW for `step`, counted from 1.
UpdateRule update_rule(const OptimizerConfig& optimizer, const LearningRate& rate,
                       std::int64_t step);

// The steps of a run, one stretch between two validations at a time.
// Errors: kNonFinite in report(), with step and samples; the run is over.
class Trainer final : public StepListener {
 public:
  Trainer(const TrainerParts& parts, const Workload& workload, std::int64_t last);

  // Runs from the step after done() to `until`, or to the first request to stop or save.
  void run(Executor& executor, std::int64_t until);

  std::int64_t done() const { return done_; }
  const std::string& reason() const { return reason_; }  // why it is to end; or empty
  bool take_save() { return save_.exchange(false); }

  bool prepare(std::int64_t step, std::span<std::byte> batch) override;
  void report(const StepReport& report) override;
  void digest(std::int64_t step, std::uint64_t value) override;
  void completed(std::int64_t step, const Timeline& timeline) override;

 private:
  TrainerParts parts_;
  BatchLayout layout_;
  std::int64_t last_;
  std::int64_t first_ = 1, until_ = 0;      // of this stretch
  std::array<std::int64_t, 4> unmasked_{};  // by step modulo 4
  std::int64_t tokens_ = 0;
  std::atomic<std::int64_t> done_{0};
  std::atomic<bool> save_{false};
  std::string reason_;  // written by prepare(), read between runs
  NonFiniteGuard guard_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The run's side of the training program: batches in, losses and norms out.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "engine/checkpoint/checkpoint_saver.h"
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
  StopRequest& stop;
  CheckpointSaver& saver;
  std::function<Seconds()> time_to_end;  // that a run needs once it is asked to
};

// The numbers of AdamW for `step`, counted from 1.
UpdateRule update_rule(const OptimizerConfig& optimizer, const LearningRate& rate,
                       std::int64_t step);

// The steps of a run, one stretch between two validations at a time.
// Errors: kNonFinite in report(), with step and samples; the run is over.
class Trainer final : public StepListener {
 public:
  // `start`: where the run stands; step 0 for a fresh one.
  Trainer(const TrainerParts& parts, const Workload& workload, std::int64_t last,
          const RunState& start);

  // Runs from the step after done() to `until`, or to the first request to stop or save.
  void run(Executor& executor, std::int64_t until);

  std::int64_t done() const { return run_.step; }
  // After the last step, between runs. The validation is that of set_validation().
  const RunState& run_state() const { return run_; }
  void set_validation(const ValidationState& validation) { run_.validation = validation; }
  const std::string& reason() const { return reason_; }  // why it is to end; or empty
  bool take_save() { return save_.exchange(false); }

  bool prepare(std::int64_t step, std::span<std::byte> batch) override;
  void report(const StepReport& report) override;
  void digest(std::int64_t step, std::uint64_t value) override;
  void completed(std::int64_t step, const Timeline& timeline) override;

 private:
  std::int64_t first_sample(std::int64_t step) const;
  void tell_saver_what_is_logged();

  TrainerParts parts_;
  BatchLayout layout_;
  std::int64_t last_;
  std::int64_t first_ = 1, until_ = 0;      // of this stretch
  std::array<std::int64_t, 4> unmasked_{};  // by step modulo 4
  RunState start_;                          // steps are counted from here
  RunState run_;                            // written by report() and digest(), read between runs
  std::atomic<bool> save_{false};
  std::string reason_;  // written by prepare(), read between runs
  NonFiniteGuard guard_;
};

}  // namespace sluice

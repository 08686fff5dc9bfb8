// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The held-out loss after some of the steps, and what follows from it.

#include <cstdint>
#include <string>

#include "engine/checkpoint/manifest.h"
#include "engine/config/run_config.h"
#include "engine/files/metrics.h"
#include "engine/run/evaluate.h"
#include "engine/run/step_log.h"
#include "engine/run/stop_request.h"

namespace sluice {

class Validation {
 public:
  // Borrows all but `tokens`. `forward` runs the forward program of `workload`.
  Validation(const RunConfig& config, const Workload& workload, const TokenRange& tokens,
             Executor& forward, const StopRequest& stop, const ValidationState& start);

  // At most once after each step: a request to save stops the steps between two.
  bool due(std::int64_t step, bool end) const;

  // Why the run is to end, or empty. That of the stop request where it was cut short, and
  // says nothing else. Error{kNonFinite}.
  std::string run(std::int64_t step, MetricsWriter& metrics, StepLog& log);

  const ValidationState& state() const { return state_; }

 private:
  const RunConfig& config_;
  Executor& forward_;
  const StopRequest& stop_;
  ValidationState state_;
  Evaluation evaluation_;
};

}  // namespace sluice

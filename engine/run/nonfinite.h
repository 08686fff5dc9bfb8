// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a run does about numbers that are not finite (train.on_nonfinite).
//
// With deferred updates the norm is known before anything is written: a step whose norm is
// not finite changes no state, wherever Adam runs, and can be skipped. With updates during
// backward each flat parameter's own norm guards it, and the run ends: others were updated.

#include <cstdint>
#include <optional>
#include <string>

#include "engine/checkpoint/manifest.h"
#include "engine/config/run_config.h"
#include "engine/files/metrics.h"
#include "offload/execute.h"
#include "offload/state_access.h"

namespace sluice {

class NonFiniteGuard {
 public:
  // Borrows train and workload. `skips`: of the run before it was resumed.
  NonFiniteGuard(const TrainConfig& train, const Workload& workload, const SkipCount& skips)
      : train_(train), workload_(workload), skips_(skips) {}

  // Looks at a step whose samples begin at `first`. Empty where all is well; the fields of
  // an event where the step was skipped, and a warning said.
  // Errors: kNonFinite where the run is to end: with "stop", after train.max_skips skips in
  // a row, and where a loss is not finite although the gradient is, so that it was applied.
  EventFields check(const StepReport& report, std::int64_t first);

  // Steps skipped since the run began; nothing where none may be.
  std::optional<std::int64_t> skipped() const;
  const SkipCount& skips() const { return skips_; }

 private:
  std::string describe(const StepReport& report, std::int64_t first) const;

  const TrainConfig& train_;
  const Workload& workload_;
  SkipCount skips_;
};

// The tensor that a partial of the norm belongs to, counted as in the norm of all tensors.
const TensorSpec& tensor_of_partial(const Workload& workload, std::int64_t partial);

// A weight, in the order of forward, that is not finite: "h.0.attn.weight holds inf".
// Nothing where all are finite. Reads all of the weights.
std::optional<std::string> nonfinite_weight(const Workload& workload, StateAccess& state);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/validation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "devices/base/error.h"

namespace sluice {

Validation::Validation(const RunConfig& config, const Workload& workload, const TokenRange& tokens,
                       Executor& forward, const StopRequest& stop, const ValidationState& start)
    : config_(config),
      forward_(forward),
      stop_(stop),
      state_(start),
      evaluation_(workload, tokens, config.eval.sequences) {}

bool Validation::due(std::int64_t step, bool end) const {
  const std::int64_t every = config_.eval.every;
  return step > state_.step && (end || (every > 0 && step % every == 0));
}

std::string Validation::run(std::int64_t step, MetricsWriter& metrics, StepLog& log) {
  const EvaluationResult value = evaluation_.run(forward_, [this] { return stop_.asked(); });
  if (!value.whole) return stop_.reason();
  state_.step = step;
  state_.loss = value.loss;
  metrics.evaluation({.step = step, .loss = value.loss, .tokens = {value.tokens}});
  log.say(fmt::format("step {}  validation loss {:.4f}  {:.4f} bits per token  {} tokens", step,
                      value.loss, value.bits(), value.tokens));
  if (!std::isfinite(value.loss)) {
    throw Error(ErrorKind::kNonFinite,
                fmt::format("step {}: the validation loss is not a finite number, so the model was "
                            "not saved; lower optimizer.lr",
                            step));
  }
  const bool best = !state_.best || value.loss < *state_.best;
  state_.without_best = best ? 0 : state_.without_best + 1;
  if (best) state_.best = value.loss;
  const TrainConfig& train = config_.train;
  if (train.target_loss && value.loss <= *train.target_loss) return "target_loss";
  return train.patience && state_.without_best >= *train.patience ? "patience" : "";
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice {

double EvaluationResult::perplexity() const { return std::exp(loss); }
double EvaluationResult::bits() const { return loss / std::numbers::ln2; }

Evaluation::Evaluation(const Workload& workload, const TokenRange& tokens, std::int64_t limit)
    : layout_(batch_layout(workload)), windows_(tokens, workload.length), count_(windows_.count()) {
  if (limit > 0) count_ = std::min(count_, limit);
}

EvaluationResult Evaluation::run(Executor& executor, const std::function<bool()>& stop) {
  stop_ = &stop;
  result_ = {};
  executor.run(1, *this);
  if (result_.tokens > 0) result_.loss /= static_cast<double>(result_.tokens);
  return result_;
}

bool Evaluation::prepare(std::int64_t step, std::span<std::byte> batch) {
  const std::int64_t per_step = layout_.micro_batches * layout_.sequences;
  const std::int64_t first = (step - 1) * per_step;
  if (first >= count_) return false;
  if (*stop_ && (*stop_)()) {
    result_.whole = false;
    return false;
  }
  result_.tokens += fill_batch(layout_, batch, [&](std::int64_t at, auto ids, auto targets) {
    // Windows behind the limit are masked as those behind the end are.
    const std::int64_t wanted = std::clamp<std::int64_t>(count_ - first - at, 0, layout_.sequences);
    const auto used = static_cast<std::size_t>(wanted * layout_.length);
    std::fill(ids.begin() + static_cast<std::ptrdiff_t>(used), ids.end(), 0);
    std::fill(targets.begin() + static_cast<std::ptrdiff_t>(used), targets.end(), -1);
    return wanted == 0 ? std::int64_t{0}
                       : windows_.fill(first + at, ids.first(used), targets.first(used));
  });
  return true;
}

void Evaluation::report(const StepReport& report) {
  for (const float loss : report.losses) result_.loss += static_cast<double>(loss);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Loss over consecutive windows of held-out tokens.

#include <cstdint>
#include <functional>

#include "engine/data/batches.h"
#include "offload/execute.h"
#include "offload/operands.h"

namespace sluice {

struct EvaluationResult {
  double loss = 0;  // nats per token
  std::int64_t tokens = 0;
  bool whole = true;  // false: it was told to stop, and this is the loss of a part

  double perplexity() const;
  double bits() const;  // per token; per byte where tokens are bytes
};

// Feeds windows [0, limit) (0: all) through a forward program. All memory is taken
// in the constructor.
class Evaluation final : public StepListener {
 public:
  Evaluation(const Workload& workload, const TokenRange& tokens, std::int64_t limit);

  // `executor` runs the forward program of `workload`; the weights are at rest.
  // `stop` is asked before every batch, on a lane's thread.
  EvaluationResult run(Executor& executor, const std::function<bool()>& stop = {});

  bool prepare(std::int64_t step, std::span<std::byte> batch) override;
  void report(const StepReport& report) override;

 private:
  BatchLayout layout_;
  EvaluationWindows windows_;
  std::int64_t count_;
  const std::function<bool()>* stop_ = nullptr;
  EvaluationResult result_;  // its loss is the sum until run() ends
};

// Fills the micro-batches of a batch through fill(first, ids, targets), `first`
// counting sequences; returns the unmasked targets, whose reciprocal it stores.
template <typename Fill>
std::int64_t fill_batch(const BatchLayout& layout, std::span<std::byte> batch, Fill fill) {
  std::int64_t unmasked = 0;
  const auto tokens = static_cast<std::size_t>(layout.tokens());
  for (std::int64_t m = 0; m < layout.micro_batches; ++m) {
    const auto at = [&](Bytes offset) {
      return std::span<std::int32_t>(reinterpret_cast<std::int32_t*>(batch.data() + offset.value),
                                     tokens);
    };
    unmasked += fill(m * layout.sequences, at(layout.ids(m)), at(layout.targets(m)));
  }
  *reinterpret_cast<float*>(batch.data()) =
      unmasked > 0 ? static_cast<float>(1.0 / static_cast<double>(unmasked)) : 0.0F;
  return unmasked;
}

}  // namespace sluice

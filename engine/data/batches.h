// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Fills batches: ids[sequences, length], and targets of the same shape, the
// token after each; -1 where there is none.
//
// Threads  const and without state: any thread may fill at any time.
// Errors   Error{kData} where a file cannot be read.

#include <cstdint>
#include <span>

#include "engine/data/sample_order.h"
#include "engine/data/token_source.h"

namespace sluice {

// Training: samples of a run in their shuffled order.
class TrainingBatches {
 public:
  TrainingBatches(TokenRange tokens, std::int64_t length, std::uint64_t seed);

  std::int64_t samples_per_epoch() const { return order_.samples_per_epoch(); }

  // Samples first_sample, first_sample + 1, ... of the run, as many as the spans
  // hold sequences. Returns the number of targets that are not masked.
  std::int64_t fill(std::int64_t first_sample, std::span<std::int32_t> ids,
                    std::span<std::int32_t> targets) const;

 private:
  TokenRange tokens_;
  std::int64_t length_;
  SampleOrder order_;
};

// Evaluation: consecutive windows of `length`, each token but the first predicted
// once. The last window may be shorter: its rest is masked.
class EvaluationWindows {
 public:
  // Requires tokens.count >= 2.
  EvaluationWindows(TokenRange tokens, std::int64_t length);

  std::int64_t count() const { return (tokens_.count - 1 + length_ - 1) / length_; }

  // As TrainingBatches::fill. Windows at and behind count() are wholly masked.
  std::int64_t fill(std::int64_t first_window, std::span<std::int32_t> ids,
                    std::span<std::int32_t> targets) const;

 private:
  TokenRange tokens_;
  std::int64_t length_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/batches.h"

#include <algorithm>
#include <vector>

#include "devices/base/error.h"

namespace sluice {
namespace {

constexpr std::int32_t kMasked = -1;

// One row from `count` tokens at `at`, of which the last is only a target.
void fill_row(const TokenRange& tokens, std::int64_t at, std::int64_t count,
              std::span<std::int32_t> ids, std::span<std::int32_t> targets) {
  const auto predicted = static_cast<std::size_t>(std::max<std::int64_t>(0, count - 1));
  if (predicted > 0) {
    tokens.read(at, ids.first(predicted));
    tokens.read(at + count - 1, targets.subspan(predicted - 1, 1));
    std::copy(ids.begin() + 1, ids.begin() + static_cast<std::ptrdiff_t>(predicted),
              targets.begin());
  }
  std::fill(ids.begin() + static_cast<std::ptrdiff_t>(predicted), ids.end(), 0);
  std::fill(targets.begin() + static_cast<std::ptrdiff_t>(predicted), targets.end(), kMasked);
}

std::int64_t rows_of(std::span<std::int32_t> ids, std::span<std::int32_t> targets,
                     std::int64_t length) {
  const auto size = static_cast<std::int64_t>(ids.size());
  SLUICE_CHECK(ids.size() == targets.size() && size % length == 0);
  return size / length;
}

}  // namespace

TrainingBatches::TrainingBatches(TokenRange tokens, std::int64_t length, std::uint64_t seed)
    : tokens_(std::move(tokens)), length_(length), order_(tokens_.count, length, seed) {}

std::int64_t TrainingBatches::fill(std::int64_t first_sample, std::span<std::int32_t> ids,
                                   std::span<std::int32_t> targets) const {
  const std::int64_t rows = rows_of(ids, targets, length_);
  const auto width = static_cast<std::size_t>(length_);
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::size_t at = static_cast<std::size_t>(row) * width;
    fill_row(tokens_, order_.start_of(first_sample + row), length_ + 1, ids.subspan(at, width),
             targets.subspan(at, width));
  }
  return rows * length_;
}

EvaluationWindows::EvaluationWindows(TokenRange tokens, std::int64_t length)
    : tokens_(std::move(tokens)), length_(length) {
  SLUICE_CHECK(length >= 1 && tokens_.count >= 2);
}

std::int64_t EvaluationWindows::fill(std::int64_t first_window, std::span<std::int32_t> ids,
                                     std::span<std::int32_t> targets) const {
  const std::int64_t rows = rows_of(ids, targets, length_);
  const auto width = static_cast<std::size_t>(length_);
  std::int64_t unmasked = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t at = (first_window + row) * length_;
    const std::int64_t tokens = std::clamp<std::int64_t>(tokens_.count - at, 0, length_ + 1);
    const std::size_t begin = static_cast<std::size_t>(row) * width;
    fill_row(tokens_, at, tokens, ids.subspan(begin, width), targets.subspan(begin, width));
    unmasked += std::max<std::int64_t>(0, tokens - 1);
  }
  return unmasked;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The iterations of a Program that is executed: which are known, and what runs in each.
// Iteration i works for step `first + i - 1`; operations of other stages for steps before it
// or behind it.

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>

#include "offload/lane_progress.h"
#include "offload/program.h"

namespace sluice {

// Threads: one publishes; any may ask about iterations that they entered.
class Iterations {
 public:
  // Before the first step its inputs are fetched; after the last its updates are made.
  enum class Mode : std::uint8_t { kBefore, kStep, kAfter };

  // Iterations that are remembered: one whose spans are read, and those that lanes may be in.
  static constexpr std::int64_t kKept = 4;

  // Iteration 0 is known at once.
  void begin(std::int64_t first) {
    first_ = first;
    end_ = std::numeric_limits<std::int64_t>::max();
    known_.reset();
    publish(0, Mode::kBefore, false);
  }

  // Makes the next one known to those that wait. After kAfter there is none. `saved`: so is the
  // state that its step leaves.
  void publish(std::int64_t iteration, Mode mode, bool saved) {
    modes_[static_cast<std::size_t>(iteration % kKept)] = mode;
    if (mode == Mode::kAfter) end_ = iteration + 1;
    saved_[static_cast<std::size_t>(iteration % kSavesKept)] = saved;
    known_.raise_to(iteration + 1);
  }

  // Waits until it is known; false if the run ends before it.
  bool enter(std::int64_t iteration) const {
    if (iteration >= end_) return false;
    known_.wait_for(iteration + 1);
    return !failed() && iteration < end_;
  }

  // Ends every wait, now and later.
  void fail() { known_.poison(); }
  bool failed() const { return known_.value() == std::numeric_limits<std::int64_t>::max(); }

  bool is_step(std::int64_t iteration) const { return mode(iteration) == Mode::kStep; }

  std::int64_t step_of(std::int64_t iteration, const Operation& operation) const {
    return step_of(iteration) - operation.stage;
  }
  std::int64_t step_of(std::int64_t iteration) const { return first_ + iteration - 1; }

  // Whether the operation has nothing to do in it.
  bool masked(std::int64_t iteration, const Operation& operation) const {
    if (operation.for_save &&
        (iteration < operation.stage ||
         !saved_[static_cast<std::size_t>((iteration - operation.stage) % kSavesKept)])) {
      return true;
    }
    if (operation.stage < 0) return mode(iteration) == Mode::kAfter;
    if (operation.stage == 0) return !is_step(iteration);
    return iteration < 2;  // the step before belongs to this run
  }

 private:
  // An update may be deferred, and spans are read while two more iterations run and a third is
  // published.
  static constexpr std::int64_t kSavesKept = 8;

  Mode mode(std::int64_t iteration) const {
    return modes_[static_cast<std::size_t>(iteration % kKept)];
  }

  std::int64_t first_ = 0;
  std::array<Mode, kKept> modes_{};
  std::array<bool, kSavesKept> saved_{};
  Progress known_;
  std::atomic<std::int64_t> end_{0};
};

}  // namespace sluice

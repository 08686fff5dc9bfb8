// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A count that one thread raises and others wait for: how far a lane has come.

#include <atomic>
#include <cstdint>
#include <limits>

namespace sluice {

class alignas(64) Progress {
 public:
  std::int64_t value() const { return value_.load(std::memory_order_acquire); }

  void raise_to(std::int64_t value) {
    // Poisoned stays poisoned.
    std::int64_t now = value_.load(std::memory_order_relaxed);
    while (now < value && !value_.compare_exchange_weak(now, value, std::memory_order_acq_rel)) {
    }
    value_.notify_all();
  }

  // Blocks until the count is at least `value`.
  void wait_for(std::int64_t value) const {
    for (;;) {
      const std::int64_t now = this->value();
      if (now >= value) return;
      value_.wait(now, std::memory_order_acquire);
    }
  }

  // Ends every wait, now and later: something failed.
  void poison() { raise_to(std::numeric_limits<std::int64_t>::max()); }

  void reset() { value_.store(0, std::memory_order_release); }

 private:
  std::atomic<std::int64_t> value_{0};
};

}  // namespace sluice

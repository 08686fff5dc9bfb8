// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Counts the different threads that passed by, without locks or allocation.

#include <atomic>
#include <cstdint>
#include <memory>

namespace sluice {

class ThreadsSeen {
 public:
  // Counts up to `most` threads exactly, then stops counting.
  explicit ThreadsSeen(std::size_t most);

  // The calling thread has run a body.
  void note() noexcept;

  int count() const noexcept;

 private:
  std::size_t most_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> ids_;  // 0: free
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/threads_seen.h"

namespace sluice {
namespace {

// Never reused, unlike the system's thread ids.
std::uint64_t own_id() {
  static std::atomic<std::uint64_t> next{1};
  thread_local const std::uint64_t id = next.fetch_add(1, std::memory_order_relaxed);
  return id;
}

}  // namespace

ThreadsSeen::ThreadsSeen(std::size_t most)
    : most_(most), ids_(std::make_unique<std::atomic<std::uint64_t>[]>(most)) {}

void ThreadsSeen::note() noexcept {
  const std::uint64_t id = own_id();
  for (std::size_t i = 0; i < most_; ++i) {
    std::uint64_t seen = ids_[i].load(std::memory_order_relaxed);
    if (seen == 0 && ids_[i].compare_exchange_strong(seen, id, std::memory_order_relaxed)) return;
    if (seen == id) return;
  }
}

int ThreadsSeen::count() const noexcept {
  int count = 0;
  for (std::size_t i = 0; i < most_; ++i) {
    count += ids_[i].load(std::memory_order_relaxed) != 0 ? 1 : 0;
  }
  return count;
}

}  // namespace sluice

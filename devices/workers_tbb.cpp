// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "devices/base/error.h"
#include "devices/core_turns.h"
#include "devices/threads_seen.h"
#include "devices/workers.h"

namespace sluice {
namespace {

// Without this oneTBB runs as many threads as there are cores, whatever an arena
// asks for. Lanes run at once, so what counts is the sum over all Workers.
class ParallelismLimit {
 public:
  static ParallelismLimit& the() {
    static ParallelismLimit* const limit = new ParallelismLimit;  // outlives every Workers
    return *limit;
  }

  void add(int threads) {
    const std::lock_guard lock(mutex_);
    wanted_ += threads;
    if (wanted_ <= allowed_) return;  // lowering it would stop and restart threads
    // The least of all living controls holds: the old one goes first.
    control_.reset();
    allowed_ = wanted_;
    control_.emplace(tbb::global_control::max_allowed_parallelism,
                     static_cast<std::size_t>(allowed_));
  }

  void remove(int threads) {
    const std::lock_guard lock(mutex_);
    wanted_ -= threads;
  }

 private:
  std::mutex mutex_;
  int wanted_ = 0;
  int allowed_ = 0;
  std::optional<tbb::global_control> control_;
};

// Binds the threads that oneTBB lends to an arena for as long as they are there.
class Binder final : public tbb::task_scheduler_observer {
 public:
  Binder(tbb::task_arena& arena, const std::vector<int>& cpus)
      : tbb::task_scheduler_observer(arena) {
    CPU_ZERO(&cpus_);
    for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &cpus_);
    observe(true);
  }
  ~Binder() override { observe(false); }
  Binder(const Binder&) = delete;
  Binder& operator=(const Binder&) = delete;

  void on_scheduler_entry(bool is_worker) override {
    if (!is_worker) return;
    static_cast<void>(sched_getaffinity(0, sizeof(before_), &before_));
    // A refused binding costs speed, never results.
    static_cast<void>(sched_setaffinity(0, sizeof(cpus_), &cpus_));
  }
  void on_scheduler_exit(bool is_worker) override {
    if (is_worker) static_cast<void>(sched_setaffinity(0, sizeof(before_), &before_));
  }

 private:
  static thread_local cpu_set_t before_;
  cpu_set_t cpus_;
};

thread_local cpu_set_t Binder::before_;

}  // namespace

struct Workers::Impl {
  explicit Impl(int threads) : arena(threads), seen(static_cast<std::size_t>(threads) * 4 + 16) {}

  tbb::task_arena arena;
  std::optional<Binder> binder;
  ThreadsSeen seen;
};

Workers::Workers(int threads, std::vector<int> cpus, Cores cores)
    : threads_(threads), cores_(cores) {
  SLUICE_CHECK(threads >= 1);
  impl_ = std::make_unique<Impl>(threads);
  if (threads == 1) return;
  ParallelismLimit::the().add(threads);
  impl_->arena.initialize();
  if (!cpus.empty()) impl_->binder.emplace(impl_->arena, cpus);
}

Workers::~Workers() {
  if (threads_ > 1) ParallelismLimit::the().remove(threads_);
}

// One oneTBB task per thread, each of which takes the next index until none is
// left: an index costs one atomic addition, not one task.
void Workers::run(std::int64_t count, Call call, void* body) {
  if (count <= 0) return;
  std::atomic<std::int64_t> next{0};
  const auto take_turns = [&](int) {
    std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
    if (index < count) impl_->seen.note();
    try {
      for (; index < count; index = next.fetch_add(1, std::memory_order_relaxed)) {
        call(body, index);
      }
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      throw;
    }
  };
  const int turns = static_cast<int>(std::min<std::int64_t>(count, threads_));
  // Not in workers_std.cpp: it would order what ThreadSanitizer is to find unordered.
  std::optional<CoreTurn> turn;
  if (cores_ == Cores::kShared) turn.emplace();
  impl_->arena.execute([&] { tbb::parallel_for(0, turns, take_turns, tbb::simple_partitioner{}); });
}

// Loops that for_each runs on the spot (one thread, one index) do not come by here.
int Workers::threads_seen() const { return std::max(1, impl_->seen.count()); }

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Workers on std::thread, for ThreadSanitizer. Slower to start than oneTBB.

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "devices/base/error.h"
#include "devices/threads_seen.h"
#include "devices/workers.h"

namespace sluice {
namespace {

void bind_to(std::thread& thread, const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &set);
  // A refused binding costs speed, never results.
  static_cast<void>(pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set));
}

}  // namespace

struct Workers::Impl {
  explicit Impl(int threads) : seen(static_cast<std::size_t>(threads) * 4 + 16) {}

  void help();        // body of a pool thread
  void take_turns();  // runs indices of the current loop until none is left

  ThreadsSeen seen;
  std::vector<std::thread> pool;

  std::mutex mutex;  // guards what follows, except `next`
  std::condition_variable changed;
  std::uint64_t loop = 0;  // number of the current loop
  int busy = 0;            // pool threads that have not left it
  bool stopping = false;
  std::exception_ptr failure;
  std::int64_t count = 0;
  Call call = nullptr;
  void* body = nullptr;

  std::atomic<std::int64_t> next{0};
};

void Workers::Impl::take_turns() {
  try {
    for (;;) {
      const std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) return;
      seen.note();
      call(body, index);
    }
  } catch (...) {
    next.store(count, std::memory_order_relaxed);
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::current_exception();
  }
}

void Workers::Impl::help() {
  std::uint64_t done = 0;
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return stopping || loop != done; });
    if (stopping) return;
    done = loop;
    lock.unlock();
    take_turns();
    lock.lock();
    if (--busy == 0) changed.notify_all();
  }
}

Workers::Workers(int threads, std::vector<int> cpus, Cores cores)
    : threads_(threads), cores_(cores) {
  SLUICE_CHECK(threads >= 1);
  impl_ = std::make_unique<Impl>(threads);
  for (int i = 1; i < threads; ++i) {
    impl_->pool.emplace_back([impl = impl_.get()] { impl->help(); });
    bind_to(impl_->pool.back(), cpus);
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  for (std::thread& thread : impl_->pool) thread.join();
}

void Workers::run(std::int64_t count, Call call, void* body) {
  if (count <= 0) return;
  Impl& impl = *impl_;
  {
    const std::lock_guard lock(impl.mutex);
    impl.count = count;
    impl.call = call;
    impl.body = body;
    impl.failure = nullptr;
    impl.busy = static_cast<int>(impl.pool.size());
    impl.next.store(0, std::memory_order_relaxed);
    ++impl.loop;
  }
  impl.changed.notify_all();
  impl.take_turns();
  std::unique_lock lock(impl.mutex);
  impl.changed.wait(lock, [&] { return impl.busy == 0; });
  if (impl.failure) std::rethrow_exception(std::exchange(impl.failure, nullptr));
}

// Loops that for_each runs on the spot (one thread, one index) do not come by here.
int Workers::threads_seen() const { return std::max(1, impl_->seen.count()); }

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/host_queue.h"

#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>
#include <vector>

#include "devices/base/error.h"
#include "devices/host/link_clock.h"
#include "devices/host/precise_sleep.h"

namespace sluice {
namespace {

constexpr std::uint64_t kRingSlots = 1024;
constexpr std::int64_t kCopyChunk = std::int64_t{1} << 20;
// A wait this long has waited: work behind it could not have started earlier.
constexpr Seconds kBlocked{5e-6};
constexpr Queue::Ticket kNever = std::numeric_limits<Queue::Ticket>::max();

// Waits until `value` has passed `old`. The library spins shortly before it
// sleeps, which suits machines of two cores.
void wait_past(const std::atomic<std::uint64_t>& value, std::uint64_t old) {
  value.wait(old, std::memory_order_acquire);
}

// Sequentially consistent on purpose: a weaker store could pass the check
// whether anybody sleeps, and nobody would wake them.
void advance(std::atomic<std::uint64_t>& value, std::uint64_t to) {
  value.store(to);
  value.notify_all();
}

}  // namespace

struct HostQueue::Impl {
  Impl(std::unique_ptr<Workers> owned_workers, Workers& used_workers, LinkPace pace,
       std::size_t marks)
      : owned(std::move(owned_workers)), workers(used_workers), link(pace), times(marks) {}

  void serve();  // body of the thread
  void run(Slot& slot);
  void copy_now(void* to, const void* from, Bytes size, Seconds enqueued);

  std::unique_ptr<Workers> owned;
  Workers& workers;
  LinkClock link;
  Seconds ready{};  // when the last wait for another queue ended; thread's own

  std::vector<Slot> ring{kRingSlots};
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> finished{0};
  std::atomic<bool> stopping{false};

  std::vector<Seconds> times;  // of ticket t at t modulo size
  std::atomic<Ticket> issued{0};
  std::atomic<Ticket> reached{0};
  // The last ticket before the failed work; `failure` is written before it and
  // read only behind a later ticket.
  std::atomic<Ticket> good_until{kNever};
  std::exception_ptr failure;

  std::thread thread;  // last: dies first
};

HostQueue::HostQueue(Workers& workers, LinkPace pace, std::size_t marks_kept)
    : impl_(std::make_unique<Impl>(nullptr, workers, pace, marks_kept)) {
  SLUICE_CHECK(marks_kept >= 1);
  impl_->thread = std::thread([impl = impl_.get()] { impl->serve(); });
}

HostQueue::HostQueue(std::unique_ptr<Workers> workers, LinkPace pace, std::size_t marks_kept)
    : HostQueue(*workers, pace, marks_kept) {
  impl_->owned = std::move(workers);
}

HostQueue::~HostQueue() {
  put([impl = impl_.get()](Workers&) { impl->stopping.store(true, std::memory_order_relaxed); },
      /*always=*/true);
  impl_->thread.join();
}

HostQueue::Slot& HostQueue::claim() {
  const std::uint64_t mine = impl_->published.load(std::memory_order_relaxed);
  std::uint64_t finished = impl_->finished.load(std::memory_order_acquire);
  while (mine - finished == kRingSlots) {
    wait_past(impl_->finished, finished);
    finished = impl_->finished.load(std::memory_order_acquire);
  }
  return impl_->ring[mine % kRingSlots];
}

void HostQueue::publish() {
  advance(impl_->published, impl_->published.load(std::memory_order_relaxed) + 1);
}

void HostQueue::Impl::serve() {
  // The kernel may round a sleep up by 50 us by default: too much for a paced link.
  static_cast<void>(prctl(PR_SET_TIMERSLACK, 1UL));
  std::uint64_t next = 0;
  while (!stopping.load(std::memory_order_relaxed)) {
    while (published.load(std::memory_order_acquire) == next) wait_past(published, next);
    run(ring[next % kRingSlots]);
    advance(finished, ++next);
  }
}

void HostQueue::Impl::run(Slot& slot) {
  const bool failed = good_until.load(std::memory_order_relaxed) != kNever;
  if (!failed || slot.always) {
    try {
      slot.call(slot.closure, workers);
    } catch (...) {
      failure = std::current_exception();
      good_until.store(reached.load(std::memory_order_relaxed), std::memory_order_release);
    }
  }
  slot.destroy(slot.closure);
}

Queue::Ticket HostQueue::mark() {
  const Ticket ticket = impl_->issued.load(std::memory_order_relaxed) + 1;
  put(
      [impl = impl_.get(), ticket](Workers&) {
        impl->times[ticket % impl->times.size()] = steady_seconds();
        advance(impl->reached, ticket);
      },
      /*always=*/true);
  impl_->issued.store(ticket, std::memory_order_release);
  return ticket;
}

void HostQueue::wait(Queue& other, Ticket ticket) {
  enqueue([impl = impl_.get(), &other, ticket](Workers&) {
    const Seconds before = steady_seconds();
    other.synchronize(ticket);
    const Seconds now = steady_seconds();
    if (now - before > kBlocked) impl->ready = now;
  });
}

void HostQueue::synchronize(Ticket ticket) {
  SLUICE_CHECK(ticket >= 1 && ticket <= impl_->issued.load(std::memory_order_acquire));
  std::uint64_t reached = impl_->reached.load(std::memory_order_acquire);
  while (reached < ticket) {
    wait_past(impl_->reached, reached);
    reached = impl_->reached.load(std::memory_order_acquire);
  }
  if (ticket > impl_->good_until.load(std::memory_order_acquire)) {
    std::rethrow_exception(impl_->failure);
  }
}

Seconds HostQueue::time_of(Ticket ticket) {
  SLUICE_CHECK(ticket >= 1 && ticket <= impl_->reached.load(std::memory_order_acquire));
  SLUICE_CHECK(ticket + impl_->times.size() > impl_->issued.load(std::memory_order_acquire));
  return impl_->times[ticket % impl_->times.size()];
}

void HostQueue::copy(void* to, const void* from, Bytes size) {
  if (size.value == 0) return;
  const Seconds now = impl_->link.paced() ? steady_seconds() : Seconds{};
  enqueue(
      [impl = impl_.get(), to, from, size, now](Workers&) { impl->copy_now(to, from, size, now); });
}

void HostQueue::Impl::copy_now(void* to, const void* from, Bytes size, Seconds enqueued) {
  const Seconds end = link.paced() ? link.end_of_copy(std::max(enqueued, ready), size) : Seconds{};
  workers.for_each(divide_up(size.value, kCopyChunk), [&](std::int64_t chunk) {
    const std::int64_t first = chunk * kCopyChunk;
    std::memcpy(static_cast<std::byte*>(to) + first, static_cast<const std::byte*>(from) + first,
                static_cast<std::size_t>(std::min(kCopyChunk, size.value - first)));
  });
  if (!link.paced()) return;
  link.ended(steady_seconds(), end);
  sleep_until(end);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The host device's queue: one thread that runs closures in order. A queue for a
// link direction paces its copies to the link's rate, if it was given one.

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"
#include "devices/workers.h"

namespace sluice {

class HostQueue final : public Queue {
 public:
  // `workers` run the kernels of this queue and are used by its thread alone.
  HostQueue(Workers& workers, LinkPace pace, std::size_t marks_kept);
  HostQueue(std::unique_ptr<Workers> workers, LinkPace pace, std::size_t marks_kept);
  ~HostQueue() override;  // waits for all enqueued work

  // Enqueues `work`, called as work(Workers&) on the queue's thread. Closures of
  // up to kClosureBytes, stored in a preallocated ring (no allocation); when the
  // ring is full the caller waits. What they point to stays alive until then.
  template <typename Work>
  void enqueue(Work work) {
    put(std::move(work), /*always=*/false);
  }

  Ticket mark() override;
  // A failure of `other` up to `ticket` becomes this queue's failure too: what
  // comes behind would work on garbage.
  void wait(Queue& other, Ticket ticket) override;
  // Throws only for tickets behind the failed work.
  void synchronize(Ticket ticket) override;
  Seconds time_of(Ticket ticket) override;
  void copy(void* to, const void* from, Bytes size) override;

  static constexpr std::size_t kClosureBytes = 256;

 private:
  struct Impl;

  // One closure in the ring.
  struct Slot {
    alignas(64) std::byte closure[kClosureBytes];
    void (*call)(void* closure, Workers& workers) = nullptr;
    void (*destroy)(void* closure) noexcept = nullptr;
    bool always = false;  // runs behind a failure too
  };

  template <typename Work>
  void put(Work work, bool always) {
    static_assert(sizeof(Work) <= kClosureBytes && alignof(Work) <= 64, "capture less");
    static_assert(std::is_nothrow_move_constructible_v<Work>);
    Slot& slot = claim();
    ::new (static_cast<void*>(slot.closure)) Work(std::move(work));
    slot.call = [](void* closure, Workers& workers) { (*static_cast<Work*>(closure))(workers); };
    slot.destroy = [](void* closure) noexcept { static_cast<Work*>(closure)->~Work(); };
    slot.always = always;
    publish();
  }

  Slot& claim();  // the next slot; waits while the ring is full
  void publish();

  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The host device's queue: one thread that runs closures in order. A queue for a
// link direction paces its copies to the link's rate, if it was given one.

#include <cstddef>
#include <functional>
#include <memory>

#include "devices/accelerator.h"
#include "devices/workers.h"

namespace sluice {

// How fast a link is; rate.value 0 is "as fast as memory".
struct LinkPace {
  BytesPerSecond rate;
  Seconds latency{};
};

class HostQueue final : public Queue {
 public:
  // `workers` run the kernels of this queue and are used by its thread alone.
  HostQueue(Workers& workers, LinkPace pace, std::size_t marks_kept);
  ~HostQueue() override;  // waits for all enqueued work

  // Enqueues `work`, called as work(Workers&) on the queue's thread. Closures up
  // to kClosureBytes are stored in a preallocated ring (no allocation); when the
  // ring is full the caller waits.
  template <typename Work>
  void enqueue(Work work);

  Ticket mark() override;
  void wait(Queue& other, Ticket ticket) override;
  void synchronize(Ticket ticket) override;
  Seconds time_of(Ticket ticket) override;
  void copy(void* to, const void* from, Bytes size) override;

  static constexpr std::size_t kClosureBytes = 256;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice

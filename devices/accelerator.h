// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What runs forward and backward: one memory arena, in-order queues, and copies
// between that arena and host memory. Implementations: devices/host (the CPU as
// an accelerator), devices/cuda; registry.h makes them by name.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "devices/base/units.h"

namespace sluice {

// Owned memory that ends at its last byte: a guard page lies behind it, so that
// an overrun is a fault and not somebody else's tensor.
class Arena {
 public:
  virtual ~Arena() = default;
  virtual std::byte* base() noexcept = 0;  // 4 KiB aligned; a device pointer for a device arena
  virtual Bytes size() const noexcept = 0;
};

// A piece of somebody's device memory, 256-byte aligned.
struct Scratch {
  std::byte* data = nullptr;
  Bytes size;
};

// An in-order queue of asynchronous work.
//
// Async    enqueued work runs in order, after the call returned. A *ticket* is
//          a marker in the queue: it is issued when mark() returns and reached
//          when all work before it is done. Tickets count 1, 2, 3, ...
// Threads  one thread enqueues; wait() on this queue from another queue's
//          thread, synchronize() and time_of() may be called from any thread
//          for tickets that were issued.
// Errors   the first failure of enqueued work is kept; work behind it is
//          dropped while tickets go on being reached, so that nobody hangs.
//          synchronize() throws it.
class Queue {
 public:
  using Ticket = std::uint64_t;

  virtual ~Queue() = default;

  virtual Ticket mark() = 0;

  // Work enqueued from now on starts only when `other` has reached `ticket`,
  // which must have been issued. Does not block the caller.
  virtual void wait(Queue& other, Ticket ticket) = 0;

  // Blocks the caller until `ticket` is reached; rethrows a failure.
  virtual void synchronize(Ticket ticket) = 0;

  // When `ticket` was reached, on the clock of steady_seconds(). Only for one of
  // the last `marks_kept` tickets, and only after synchronize(ticket).
  virtual Seconds time_of(Ticket ticket) = 0;

  // Copies between the device arena and host memory, or inside the arena. On a
  // queue made for a link direction the copy is that link's.
  // Alignment: none needed, 64 bytes preferred. The ranges must not overlap.
  virtual void copy(void* to, const void* from, Bytes size) = 0;

  // Device memory that kernels of this queue may overwrite, one after the other, beside
  // what each call is given. The lender's, and lent before the first kernel; none else.
  void lend(Scratch scratch) noexcept { scratch_ = scratch; }
  Scratch scratch() const noexcept { return scratch_; }

 private:
  Scratch scratch_;
};

enum class QueueKind : std::uint8_t { kCompute, kHostToDevice, kDeviceToHost };

// Seconds on the steady clock that all timelines share.
Seconds steady_seconds();

class Accelerator {
 public:
  virtual ~Accelerator() = default;

  // "host", "cuda": the key into the registries of devices and kernels.
  virtual std::string kind() const = 0;
  // For people: "host device, 2 threads, AVX2".
  virtual std::string description() const = 0;

  // The memory an arena may take now, before any limit of the run's. What drivers and
  // libraries keep for themselves is gone from it once they are loaded.
  virtual Bytes capacity() const = 0;

  // Reserves and touches `size` bytes of device memory. Error{kNoFit} where the
  // device does not have them.
  virtual std::unique_ptr<Arena> reserve_device(Bytes size) = 0;
  // Likewise host memory that is an end of this device's copies (pinned where
  // the device needs that).
  virtual std::unique_ptr<Arena> reserve_host(Bytes size) = 0;

  // `marks_kept`: how many tickets may be issued and not yet asked about.
  virtual std::unique_ptr<Queue> create_queue(QueueKind kind, std::size_t marks_kept) = 0;
};

}  // namespace sluice

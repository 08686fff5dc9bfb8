// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A CUDA stream as a queue. A ticket is an event with timing in a ring of
// `marks_kept`: ticket t uses event t modulo marks_kept, again only when the
// ticket before it there was reached, so that an event never stands for two.

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "devices/accelerator.h"
#include "devices/cuda/cuda_clock.h"
#include "devices/cuda/cuda_context.h"
#include "devices/cuda/cuda_staging.h"

namespace sluice {

class CudaQueue final : public Queue {
 public:
  CudaQueue(const CudaContext& context, std::shared_ptr<CudaClock> clock, std::size_t marks_kept);
  ~CudaQueue() override;  // waits for all enqueued work
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  // The cudaStream_t for kernels/cuda, with its device made current for the
  // calling thread, the one that enqueues. Ask before every operation.
  // Errors: throws what this queue failed of, so that nothing is launched behind it.
  void* native();

  // Waits where marks_kept tickets are not reached yet.
  Ticket mark() override;
  // `other` is a queue of the same accelerator. A failure of `other` before
  // `ticket` becomes this queue's failure too.
  void wait(Queue& other, Ticket ticket) override;
  // Throws for tickets behind the failed work, once nothing is in flight. An error
  // of the device (a kernel, ECC, a lost GPU) has no place in the queue and makes
  // every ticket that was not seen reached before throw, on every queue.
  void synchronize(Ticket ticket) override;
  // Error of the time: CudaClock.
  Seconds time_of(Ticket ticket) override;
  // Pageable ends go through CudaStaging, made at the first such copy.
  void copy(void* to, const void* from, Bytes size) override;

 private:
  void* event_of(Ticket ticket) const { return events_[ticket % events_.size()].get(); }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  void keep(std::exception_ptr failure);
  std::exception_ptr failure_before(Ticket ticket);  // or null
  void reach(Ticket ticket);
  void copy_piece(void* to, const void* from, Bytes size);
  void copy_pageable(void* to, const void* from, std::size_t size, bool to_device);

  // Runs `body` unless the queue has failed; what it throws is kept.
  template <typename Body>
  void enqueue(Body body) {
    if (failed()) return;
    try {
      context_.enter();
      body();
    } catch (...) {
      keep(std::current_exception());
    }
  }

  CudaContext context_;
  std::shared_ptr<CudaClock> clock_;
  CudaStream stream_;
  std::vector<CudaEvent> events_;
  std::unique_ptr<CudaStaging> staging_;
  bool staging_refused_ = false;

  std::atomic<Ticket> issued_{0};
  std::atomic<Ticket> reached_{0};  // known to be
  std::mutex mutex_;                // of what an event stands for, and of a failure
  std::atomic<bool> failed_{false};
  Ticket good_until_ = 0;  // the last ticket before the failure
  std::exception_ptr failure_;
};

}  // namespace sluice

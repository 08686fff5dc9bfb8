// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_queue.h"

#include <algorithm>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "devices/cuda/cuda_arena.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {
namespace {

constexpr const char* kCopying = "copy between device and host";

CudaStream entered_stream(const CudaContext& context) {
  context.enter();
  return make_stream(context);
}

}  // namespace

CudaQueue::CudaQueue(const CudaContext& context, std::shared_ptr<CudaClock> clock,
                     std::size_t marks_kept)
    : context_(context), clock_(std::move(clock)), stream_(entered_stream(context)) {
  SLUICE_CHECK(marks_kept >= 1);
  events_.reserve(marks_kept);
  for (std::size_t i = 0; i < marks_kept; ++i) {
    events_.push_back(make_event(context_, CudaEventUse::kTime));
  }
}

CudaQueue::~CudaQueue() {
  context_.enter_quietly();
  static_cast<void>(context_.api().synchronize_stream(stream_.get()));
}

void* CudaQueue::native() {
  if (failed()) {
    const std::lock_guard lock(mutex_);
    std::rethrow_exception(failure_);
  }
  context_.enter();
  return stream_.get();
}

Queue::Ticket CudaQueue::mark() {
  const Ticket ticket = issued_.load(std::memory_order_relaxed) + 1;
  enqueue([&] {
    if (ticket > events_.size()) reach(ticket - events_.size());
    const std::lock_guard lock(mutex_);
    check_cuda(context_.api(), context_.api().record(event_of(ticket), stream_.get()),
               "mark a place in the GPU's queue");
    issued_.store(ticket, std::memory_order_release);
  });
  issued_.store(ticket, std::memory_order_release);
  return ticket;
}

void CudaQueue::wait(Queue& other, Ticket ticket) {
  auto* const there = dynamic_cast<CudaQueue*>(&other);
  SLUICE_CHECK(there != nullptr);
  SLUICE_CHECK(ticket >= 1 && ticket <= there->issued_.load(std::memory_order_acquire));
  enqueue([&] {
    if (const std::exception_ptr failure = there->failure_before(ticket)) {
      std::rethrow_exception(failure);
    }
    const std::lock_guard lock(there->mutex_);
    // An event that stands for a later ticket: this one was reached.
    if (ticket + there->events_.size() <= there->issued_.load(std::memory_order_relaxed)) return;
    check_cuda(context_.api(),
               context_.api().wait_for_event(stream_.get(), there->event_of(ticket)),
               "wait for another queue of the GPU");
  });
}

void CudaQueue::synchronize(Ticket ticket) {
  SLUICE_CHECK(ticket >= 1 && ticket <= issued_.load(std::memory_order_acquire));
  context_.enter_quietly();
  if (const std::exception_ptr failure = failure_before(ticket)) {
    // What was enqueued before the failure may still move bytes of the caller's.
    static_cast<void>(context_.api().synchronize_stream(stream_.get()));
    std::rethrow_exception(failure);
  }
  try {
    reach(ticket);
  } catch (...) {
    keep(std::current_exception());
    throw;
  }
}

// A caller more than marks_kept tickets behind waits for a later one: its event
// was taken again, which says that `ticket` was reached long ago.
void CudaQueue::reach(Ticket ticket) {
  Ticket known = reached_.load(std::memory_order_acquire);
  if (ticket <= known) return;
  check_cuda(context_.api(), context_.api().synchronize_event(event_of(ticket)),
             "finish the work on the GPU");
  while (known < ticket && !reached_.compare_exchange_weak(known, ticket)) continue;
}

Seconds CudaQueue::time_of(Ticket ticket) {
  SLUICE_CHECK(ticket >= 1 && ticket <= reached_.load(std::memory_order_acquire));
  SLUICE_CHECK(ticket + events_.size() > issued_.load(std::memory_order_acquire));
  return clock_->time_of(event_of(ticket));
}

void CudaQueue::copy(void* to, const void* from, Bytes size) {
  enqueue([&] {
    for (Bytes done{}; done < size;) {
      std::byte* const piece_to = static_cast<std::byte*>(to) + done.value;
      const std::byte* const piece_from = static_cast<const std::byte*>(from) + done.value;
      // Cut where pinned pieces may end, on whichever side the host is.
      const Bytes piece = within_piece(piece_to, within_piece(piece_from, size - done));
      copy_piece(piece_to, piece_from, piece);
      done += piece;
    }
  });
}

void CudaQueue::copy_piece(void* to, const void* from, Bytes size) {
  const CudaApi& api = context_.api();
  CudaPointer to_kind{};
  CudaPointer from_kind{};
  check_cuda(api, api.kind_of_pointer(&to_kind, to), kCopying);
  check_cuda(api, api.kind_of_pointer(&from_kind, from), kCopying);
  if (from_kind == CudaPointer::kPageable || to_kind == CudaPointer::kPageable) {
    copy_pageable(to, from, count(size), to_kind == CudaPointer::kDevice);
  } else {
    check_cuda(api, api.copy(to, from, count(size), stream_.get()), kCopying);
  }
}

void CudaQueue::copy_pageable(void* to, const void* from, std::size_t size, bool to_device) {
  if (!staging_ && !staging_refused_) {
    try {
      staging_ = std::make_unique<CudaStaging>(context_, stream_.get());
    } catch (const Error& error) {
      staging_refused_ = true;
      log_warn(std::string(error.what()) + ": copies wait for each other on the host");
    }
  }
  if (staging_ && to_device) return staging_->to_device(to, from, size);
  if (staging_) return staging_->from_device(to, from, size);
  // CUDA may read pageable memory at the time of the call, before the work that
  // writes it: wait for that first.
  const CudaApi& api = context_.api();
  check_cuda(api, api.synchronize_stream(stream_.get()), kCopying);
  check_cuda(api, api.copy(to, from, size, stream_.get()), kCopying);
}

void CudaQueue::keep(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (failure_ != nullptr) return;
  failure_ = std::move(failure);
  good_until_ = issued_.load(std::memory_order_relaxed);
  failed_.store(true, std::memory_order_release);
}

std::exception_ptr CudaQueue::failure_before(Ticket ticket) {
  if (!failed()) return nullptr;
  const std::lock_guard lock(mutex_);
  return ticket > good_until_ ? failure_ : nullptr;
}

}  // namespace sluice

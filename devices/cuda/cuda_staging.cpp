// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_staging.h"

#include <algorithm>
#include <cstring>

#include "devices/cuda/cuda_error.h"

namespace sluice {

CudaStaging::CudaStaging(const CudaContext& context, void* stream)
    : context_(context),
      stream_(stream),
      buffers_{make_buffer(), make_buffer()},
      reached_(make_event(context, CudaEventUse::kOrder)),
      side_(make_stream(context)) {}

CudaStaging::~CudaStaging() {
  context_.enter_quietly();
  static_cast<void>(context_.api().synchronize_stream(side_.get()));
  static_cast<void>(context_.api().synchronize_stream(stream_));
}

CudaStaging::Buffer CudaStaging::make_buffer() const {
  void* bytes = nullptr;
  check_cuda(context_.api(), context_.api().allocate_pinned(&bytes, kBufferBytes),
             "pin a small buffer", CudaPhase::kStart);
  CudaPinned owner(bytes, {context_});
  return {std::move(owner), make_event(context_, CudaEventUse::kOrder),
          make_event(context_, CudaEventUse::kOrder)};
}

void CudaStaging::check(int status) const {
  check_cuda(context_.api(), status, "copy between device and host");
}

void CudaStaging::order(void* event, void* first, void* second) {
  check(context_.api().record(event, first));
  check(context_.api().wait_for_event(second, event));
}

void CudaStaging::copy_on_side(void* to, const void* from, std::size_t size) {
  for (; dropped_ < done_.load(std::memory_order_acquire); ++dropped_) jobs_.pop_front();
  jobs_.push_back({to, from, size, &done_});
  const auto run = [](void* argument) {
    const Job& job = *static_cast<const Job*>(argument);
    std::memcpy(job.to, job.from, job.size);
    job.done->fetch_add(1, std::memory_order_release);  // ends the job's life
  };
  const int status = context_.api().call_host(side_.get(), run, &jobs_.back());
  if (status != kCudaSuccess) jobs_.pop_back();
  check(status);
}

// Waiting for an event that was never recorded is no wait: first use of a buffer.
void CudaStaging::to_device(void* to, const void* from, std::size_t size) {
  // What was enqueued before may be what writes `from`.
  order(reached_.get(), stream_, side_.get());
  for (std::size_t first = 0; first < size; first += kBufferBytes) {
    const std::size_t part = std::min(kBufferBytes, size - first);
    Buffer& buffer = next_buffer();
    check(context_.api().wait_for_event(side_.get(), buffer.moved.get()));
    copy_on_side(buffer.bytes.get(), static_cast<const std::byte*>(from) + first, part);
    order(buffer.copied.get(), side_.get(), stream_);
    check(context_.api().copy(static_cast<std::byte*>(to) + first, buffer.bytes.get(), part,
                              stream_));
    check(context_.api().record(buffer.moved.get(), stream_));
  }
}

void CudaStaging::from_device(void* to, const void* from, std::size_t size) {
  Buffer* last = nullptr;
  for (std::size_t first = 0; first < size; first += kBufferBytes) {
    const std::size_t part = std::min(kBufferBytes, size - first);
    Buffer& buffer = *(last = &next_buffer());
    check(context_.api().wait_for_event(stream_, buffer.copied.get()));
    check(context_.api().copy(buffer.bytes.get(), static_cast<const std::byte*>(from) + first, part,
                              stream_));
    order(buffer.moved.get(), stream_, side_.get());
    copy_on_side(static_cast<std::byte*>(to) + first, buffer.bytes.get(), part);
    check(context_.api().record(buffer.copied.get(), side_.get()));
  }
  // A ticket behind this copy means that the host has the bytes.
  if (last != nullptr) check(context_.api().wait_for_event(stream_, last->copied.get()));
}

}  // namespace sluice

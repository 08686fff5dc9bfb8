// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Copies between the device and pageable host memory that keep the order of a
// stream and do not hold up the thread that enqueues them. CUDA's own would read
// or wait at the time of the call.
//
//     the queue's stream   | DMA 0 | DMA 1 | DMA 0 | ...      two pinned buffers,
//     the side stream      |cpy 0|cpy 1| |cpy 0| ...          cpy: a host function
//
// The CPU copies one buffer while the DMA engine moves the other; events between
// the streams are the only waits.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "devices/cuda/cuda_context.h"

namespace sluice {

// Threads  one, the queue's.
class CudaStaging {
 public:
  static constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

  // Borrows `stream`, which outlives this. Requires a current device.
  // Errors: cuda_error where not even two buffers can be pinned.
  CudaStaging(const CudaContext& context, void* stream);
  ~CudaStaging();  // waits for what is in flight
  CudaStaging(const CudaStaging&) = delete;
  CudaStaging& operator=(const CudaStaging&) = delete;

  // Async: as Queue::copy. Errors: cuda_error.
  void to_device(void* to, const void* from, std::size_t size);
  void from_device(void* to, const void* from, std::size_t size);

 private:
  // A host function's argument: lives until it has run.
  struct Job {
    void* to;
    const void* from;
    std::size_t size;
    std::atomic<std::uint64_t>* done;
  };
  struct Buffer {
    CudaPinned bytes;
    CudaEvent moved;   // by the DMA engine; on the queue's stream
    CudaEvent copied;  // by the CPU; on the side stream
  };

  Buffer make_buffer() const;
  Buffer& next_buffer() { return buffers_[next_++ % buffers_.size()]; }
  void copy_on_side(void* to, const void* from, std::size_t size);
  void order(void* event, void* first, void* second);  // `second` waits for `first`
  void check(int status) const;

  CudaContext context_;
  void* stream_;
  std::atomic<std::uint64_t> done_{0};  // jobs
  std::uint64_t dropped_ = 0;           // jobs that left the front
  std::deque<Job> jobs_;
  std::array<Buffer, 2> buffers_;
  std::size_t next_ = 0;
  CudaEvent reached_;  // the queue's stream, where a copy begins
  CudaStream side_;    // last: dies first
};

}  // namespace sluice

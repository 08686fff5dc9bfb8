// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// When events happened, on the clock of steady_seconds(). CUDA only tells the
// time between two events, so one event whose host time is known is the anchor:
// it was recorded on a stream that has nothing else to do, between two looks at
// the host's clock.
//
// Error   against other timelines: half of the narrowest such pair of looks, about
//         10 us. Between two events of the device: CUDA's 0.5 us and the rounding
//         of a float of milliseconds, which is why anchors are replaced while
//         they are young: 0.06 us after 1 s, but 250 us after an hour. A new
//         anchor is dated by the old one and moved only where that contradicts
//         the host's clock: timelines have no steps, and drift stays bounded.

#include <array>
#include <mutex>

#include "devices/cuda/cuda_context.h"

namespace sluice {

// Threads  any.
class CudaClock {
 public:
  explicit CudaClock(const CudaContext& context);

  // Of an event with timing that has been reached. Errors: cuda_error.
  Seconds time_of(void* event);

 private:
  struct Anchor {
    CudaEvent event;
    Seconds time{};
  };

  // Records `event` now. Returns the host's time before and after it.
  std::array<Seconds, 2> record(void* event);
  Seconds elapsed(void* from, void* to);
  void replace_anchor();

  CudaContext context_;
  CudaStream stream_;
  Anchor anchor_;
  CudaEvent spare_;  // the next anchor's
  std::mutex mutex_;
};

}  // namespace sluice

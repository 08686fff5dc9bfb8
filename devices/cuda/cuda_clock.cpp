// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_clock.h"

#include <algorithm>
#include <utility>

#include "devices/accelerator.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {
namespace {

// How old an anchor may get before rounding is felt.
constexpr Seconds kYoung{1.0};
constexpr int kTries = 8;

}  // namespace

CudaClock::CudaClock(const CudaContext& context)
    : context_(context),
      stream_(make_stream(context)),
      anchor_{make_event(context, CudaEventUse::kClock)},
      spare_(make_event(context, CudaEventUse::kClock)) {
  // The first records are slow; of the others some are interrupted.
  Seconds narrowest = Seconds::max();
  for (int i = 0; i < kTries; ++i) {
    const auto [before, after] = record(spare_.get());
    if (after - before >= narrowest) continue;
    narrowest = after - before;
    anchor_.time = before + narrowest / 2;
    std::swap(anchor_.event, spare_);
  }
}

Seconds CudaClock::time_of(void* event) {
  context_.enter();
  const std::lock_guard lock(mutex_);
  if (elapsed(anchor_.event.get(), event) > kYoung) replace_anchor();
  // Negative for what lies before the anchor.
  return anchor_.time + elapsed(anchor_.event.get(), event);
}

std::array<Seconds, 2> CudaClock::record(void* event) {
  const CudaApi& api = context_.api();
  const Seconds before = steady_seconds();
  check_cuda(api, api.record(event, stream_.get()), "read the GPU's clock");
  check_cuda(api, api.synchronize_event(event), "read the GPU's clock");
  return {before, steady_seconds()};
}

Seconds CudaClock::elapsed(void* from, void* to) {
  float milliseconds = 0;
  check_cuda(context_.api(), context_.api().elapsed(&milliseconds, from, to),
             "read the time of an event");
  return Seconds{static_cast<double>(milliseconds) * 1e-3};
}

void CudaClock::replace_anchor() {
  const auto [before, after] = record(spare_.get());
  const Seconds dated = anchor_.time + elapsed(anchor_.event.get(), spare_.get());
  anchor_.time = std::clamp(dated, before, after);
  std::swap(anchor_.event, spare_);
}

}  // namespace sluice

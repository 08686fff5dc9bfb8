// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One device for everything that owns a piece of it, and those owners: handles
// that are destroyed on every way out. A failure to destroy is not looked at: it
// comes after a failure that was reported, or when the driver has gone already
// and the memory with it.

#include <memory>

#include "devices/base/units.h"
#include "devices/cuda/cuda_api.h"

namespace sluice {

// A value: which device, through which calls.
class CudaContext {
 public:
  CudaContext(const CudaApi& api, int device) : api_(&api), device_(device) {}

  const CudaApi& api() const noexcept { return *api_; }
  int device() const noexcept { return device_; }

  // Makes the device current for the calling thread. Lanes are threads, and new
  // ones start at device 0; every entry from outside begins with this.
  void enter() const;
  void enter_quietly() const noexcept { static_cast<void>(api_->set_device(device_)); }

 private:
  const CudaApi* api_;
  int device_;
};

// Returns a handle or memory by `call`, a member of the table.
template <int (*CudaApi::*call)(void*)>
struct CudaDeleter {
  CudaContext context;
  void operator()(void* owned) const noexcept {
    context.enter_quietly();
    static_cast<void>((context.api().*call)(owned));
  }
};

using CudaStream = std::unique_ptr<void, CudaDeleter<&CudaApi::destroy_stream>>;
using CudaEvent = std::unique_ptr<void, CudaDeleter<&CudaApi::destroy_event>>;
using CudaMemory = std::unique_ptr<void, CudaDeleter<&CudaApi::release>>;
using CudaPinned = std::unique_ptr<void, CudaDeleter<&CudaApi::release_pinned>>;

// Require that the device is current. Errors: cuda_error.
CudaStream make_stream(const CudaContext& context);
CudaEvent make_event(const CudaContext& context, CudaEventUse use);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One NVIDIA GPU as an accelerator. Whatever it gave out owns its piece of the
// device and is destroyed before the process ends, by return or by exception;
// the driver takes the context back when the process is gone.

#include <memory>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"
#include "devices/cuda/cuda_clock.h"
#include "devices/cuda/cuda_context.h"
#include "devices/cuda/cuda_device.h"

namespace sluice {

class CudaAccelerator final : public Accelerator {
 public:
  // Creates the context on the device of options.bus_id. Errors: cuda_error.
  CudaAccelerator(const CudaApi& api, const AcceleratorOptions& options);

  std::string kind() const override { return "cuda"; }
  std::string description() const override { return describe(device_); }
  // What is free now; no more than options.capacity if that is given.
  Bytes capacity() const override;
  std::unique_ptr<Arena> reserve_device(Bytes size) override;  // a CudaDeviceArena
  std::unique_ptr<Arena> reserve_host(Bytes size) override;    // a CudaHostArena
  std::unique_ptr<Queue> create_queue(QueueKind kind, std::size_t marks_kept) override;

  const CudaDevice& device() const { return device_; }

 private:
  CudaDevice device_;
  CudaContext context_;
  int threads_;
  Bytes most_;                        // 0: all that is free
  std::shared_ptr<CudaClock> clock_;  // shared with queues
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The device that a run computes on. It is opened before anything is planned, because
// what its driver and libraries keep of its memory is only known then.

#include <functional>
#include <memory>
#include <string>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"
#include "devices/machine_file.h"
#include "devices/registry.h"
#include "kernels/kernels.h"

namespace sluice {

struct OpenDevice {
  std::unique_ptr<Accelerator> accelerator;
  const KernelTable* kernels = nullptr;  // lives as long as the process
};

// By the registries, with the kernels' libraries loaded: capacity() is what is left.
// Errors: kConfig where there is no such device, kNoFit where it is full.
OpenDevice open_device(const std::string& kind, const AcceleratorOptions& options);

// Where devices come from: the registries, or what a test puts in their place.
struct Devices {
  std::function<DeviceChoice(const std::string& name)> choose = choose_device;
  std::function<OpenDevice(const std::string& kind, const AcceleratorOptions& options)> open =
      open_device;
};

// What `machine` says of the device `choice`, for a run with `threads` that compute.
AcceleratorOptions accelerator_options(const Machine& machine, const DeviceChoice& choice,
                                       int threads);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/device.h"

namespace sluice {

OpenDevice open_device(const std::string& kind, const AcceleratorOptions& options) {
  OpenDevice device{.accelerator = make_accelerator(kind, options), .kernels = &kernels_for(kind)};
  if (device.kernels->load != nullptr) device.kernels->load(*device.accelerator);
  return device;
}

AcceleratorOptions accelerator_options(const Machine& machine, const DeviceChoice& choice,
                                       int threads) {
  return {.threads = threads,
          .host_to_device = link_pace(machine, QueueKind::kHostToDevice),
          .device_to_host = link_pace(machine, QueueKind::kDeviceToHost),
          .bus_id = choice.bus_id};
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/hardware.h"

#include <algorithm>

#include "devices/registry.h"

namespace sluice {

Hardware::Hardware(const Machine& machine, const HardwareOptions& options)
    : workers_(options.threads, {},
               machine.device == "host" ? Workers::Cores::kShared : Workers::Cores::kOwn) {
  accelerator_ = make_accelerator(machine.device,
                                  {.threads = options.threads,
                                   .host_to_device = link_pace(machine, QueueKind::kHostToDevice),
                                   .device_to_host = link_pace(machine, QueueKind::kDeviceToHost)});
  const auto size = [&](Tier tier) {
    return std::max(options.extent[index_of(tier)], Bytes{4096});
  };
  // Disk first: it is the cheapest to refuse.
  if (options.extent[index_of(Tier::kStorage)].value > 0) {
    storage_ = open_storage({.folder = options.storage_folder,
                             .size = options.extent[index_of(Tier::kStorage)],
                             .backend = options.io,
                             .checksum = options.checksum});
  }
  device_ = accelerator_->reserve_device(size(Tier::kDevice));
  host_ = accelerator_->reserve_host(size(Tier::kHost));
}

Resources Hardware::resources() {
  return {.accelerator = *accelerator_,
          .kernels = kernels_for(accelerator_->kind()),
          .host_workers = workers_,
          .memory = {.device = device_->base(), .host = host_->base(), .storage = storage_.get()}};
}

}  // namespace sluice

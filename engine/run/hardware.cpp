// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/hardware.h"

#include <algorithm>
#include <utility>

namespace sluice {

Hardware::Hardware(OpenDevice device, const HardwareOptions& options)
    : open_(std::move(device)),
      workers_(
          options.threads, {},
          open_.accelerator->kind() == "host" ? Workers::Cores::kShared : Workers::Cores::kOwn) {
  const auto size = [&](Tier tier) {
    return std::max(options.extent[index_of(tier)], Bytes{4096});
  };
  // Disk first: it is the cheapest to refuse.
  if (options.extent[index_of(Tier::kStorage)].value > 0) {
    storage_ = open_storage({.folder = options.storage_folder,
                             .size = options.extent[index_of(Tier::kStorage)],
                             .backend = options.io,
                             .checksum = options.checksum,
                             .nameless = options.nameless});
  }
  device_ = open_.accelerator->reserve_device(size(Tier::kDevice));
  host_ = open_.accelerator->reserve_host(size(Tier::kHost));
  if (storage_) storage_->lend({host_->base(), count(host_->size())});
}

Resources Hardware::resources() {
  return {.accelerator = *open_.accelerator,
          .kernels = *open_.kernels,
          .host_workers = workers_,
          .memory = {.device = device_->base(), .host = host_->base(), .storage = storage_.get()}};
}

}  // namespace sluice

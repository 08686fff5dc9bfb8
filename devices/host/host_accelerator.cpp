// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/host_accelerator.h"

#include <fmt/format.h>

#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/host/host_arena.h"
#include "devices/host/host_queue.h"
#include "devices/ram_limit.h"
#include "devices/simd_level.h"

namespace sluice {

HostAccelerator::HostAccelerator(AcceleratorOptions options) : options_(std::move(options)) {
  SLUICE_CHECK(options_.threads >= 1);
  if (options_.capacity.value == 0) options_.capacity = ram_limit().available;
}

std::string HostAccelerator::description() const {
  const auto link = [](const char* name, const LinkPace& pace) {
    return pace.rate.value > 0 ? fmt::format(", {} paced to {}", name, format_rate(pace.rate)) : "";
  };
  return fmt::format("host device, {} thread{}, {}{}{}", options_.threads,
                     options_.threads == 1 ? "" : "s", simd_level(),
                     link("host to device", options_.host_to_device),
                     link("device to host", options_.device_to_host));
}

std::unique_ptr<Arena> HostAccelerator::reserve_device(Bytes size) {
  if (size > options_.capacity) {
    throw Error(ErrorKind::kNoFit,
                fmt::format("device memory of {} asked for, the host device has {}: lower "
                            "--limits.device",
                            format_bytes(size), format_bytes(options_.capacity)));
  }
  return std::make_unique<HostArena>(HostArenaOptions{
      .size = size, .threads = options_.threads, .purpose = "device memory (RAM here)"});
}

std::unique_ptr<Arena> HostAccelerator::reserve_host(Bytes size) {
  return std::make_unique<HostArena>(
      HostArenaOptions{.size = size, .threads = options_.threads, .purpose = "host memory"});
}

std::unique_ptr<Queue> HostAccelerator::create_queue(QueueKind kind, std::size_t marks_kept) {
  switch (kind) {
    case QueueKind::kCompute: {
      auto queue = std::make_unique<HostQueue>(
          std::make_unique<Workers>(options_.threads, options_.cpus, Workers::Cores::kShared),
          LinkPace{}, marks_kept);
      if (options_.muster > Seconds{}) {
        queue->enqueue(
            [patience = options_.muster](Workers& workers) { workers.muster(patience); });
      }
      return queue;
    }
    case QueueKind::kHostToDevice:
      return std::make_unique<HostQueue>(std::make_unique<Workers>(1), options_.host_to_device,
                                         marks_kept);
    case QueueKind::kDeviceToHost:
      return std::make_unique<HostQueue>(std::make_unique<Workers>(1), options_.device_to_host,
                                         marks_kept);
  }
  contract_broken("a known kind of queue");
}

}  // namespace sluice

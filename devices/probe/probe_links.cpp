// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <memory>

#include "devices/host/host_arena.h"
#include "devices/probe/probe.h"
#include "devices/probe/typical_time.h"

namespace sluice {
namespace {

using namespace literals;

// Two queues and an end on each side for both of them.
struct Ends {
  Ends(Accelerator& accelerator, Bytes copied, bool pinned)
      : size(copied),
        device(accelerator.reserve_device(copied * 2)),
        host(pinned ? accelerator.reserve_host(copied * 2)
                    : std::make_unique<HostArena>(HostArenaOptions{.size = copied * 2})),
        down(accelerator.create_queue(QueueKind::kHostToDevice, 16)),
        up(accelerator.create_queue(QueueKind::kDeviceToHost, 16)) {}

  void copy_down(Bytes part) { down->copy(device->base(), host->base(), part); }
  void copy_up(Bytes part) {
    up->copy(host->base() + size.value, device->base() + size.value, part);
  }

  Bytes size;
  std::unique_ptr<Arena> device, host;
  std::unique_ptr<Queue> down, up;  // last: they use the arenas
};

// The typical time of copies of `part` in the given directions at once.
Seconds copy_seconds(Ends& ends, Bytes part, bool down, bool up, Seconds budget) {
  return typical_time(budget, 3, [&] {
    if (down) ends.copy_down(part);
    if (up) ends.copy_up(part);
    const Queue::Ticket last_down = ends.down->mark();
    const Queue::Ticket last_up = ends.up->mark();
    ends.down->synchronize(last_down);
    ends.up->synchronize(last_up);
  });
}

// What both ends of both directions may take of a small device.
Bytes copied_bytes(const Accelerator& accelerator, Bytes wanted) {
  return std::min(wanted, Bytes{accelerator.capacity().value / 8192 * 4096});
}

LinkRates rates_of(Ends& ends, Bytes size, Seconds budget) {
  const auto rate = [&](Seconds time) {
    return BytesPerSecond{static_cast<double>(size.value) / time.count()};
  };
  LinkRates rates;
  rates.latency = copy_seconds(ends, 64_B, true, false, Seconds{0.01});
  const Seconds down = copy_seconds(ends, size, true, false, budget);
  const Seconds up = copy_seconds(ends, size, false, true, budget);
  const Seconds both = copy_seconds(ends, size, true, true, budget);
  rates.host_to_device = rate(down);
  rates.device_to_host = rate(up);
  // With free directions both take as long as the slower, on one road the sum.
  rates.duplex_factor = std::clamp(std::max(down, up) / both, 0.5, 1.0);
  return rates;
}

}  // namespace

LinkRates measure_links(Accelerator& accelerator, bool quick) {
  Ends ends(accelerator, copied_bytes(accelerator, quick ? 16_MiB : 64_MiB), /*pinned=*/true);
  return rates_of(ends, ends.size, Seconds{quick ? 0.1 : 0.3});
}

std::vector<CopyPoint> measure_copies(Accelerator& accelerator, bool pinned, bool quick) {
  const Bytes largest = copied_bytes(accelerator, quick ? 64_MiB : 256_MiB);
  Ends ends(accelerator, largest, pinned);
  std::vector<CopyPoint> points;
  for (Bytes size = 64_KiB; size <= largest; size = size * 4) {
    const LinkRates rates = rates_of(ends, size, Seconds{quick ? 0.02 : 0.1});
    points.push_back({.size = size,
                      .host_to_device = rates.host_to_device,
                      .device_to_host = rates.device_to_host,
                      .duplex_factor = rates.duplex_factor});
  }
  return points;
}

Seconds measure_beside_copies(Accelerator& accelerator, const LinkRates& alone, Seconds time,
                              const std::function<void()>& beside) {
  Ends ends(accelerator, copied_bytes(accelerator, 64_MiB), /*pinned=*/true);
  const auto copies = [&](BytesPerSecond rate) {
    return 1 + static_cast<int>(time.count() * rate.value / static_cast<double>(ends.size.value));
  };
  for (int i = copies(alone.host_to_device); i > 0; --i) ends.copy_down(ends.size);
  for (int i = copies(alone.device_to_host); i > 0; --i) ends.copy_up(ends.size);
  const Seconds start = steady_seconds();
  beside();
  const Seconds taken = steady_seconds() - start;
  ends.down->synchronize(ends.down->mark());
  ends.up->synchronize(ends.up->mark());
  return taken;
}

}  // namespace sluice

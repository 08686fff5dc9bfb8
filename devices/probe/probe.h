// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Measures what moves bytes: memory, links, storage, queues. The rates of
// arithmetic need kernels and are measured further up.
//
// Each measurement is the best of a few runs, because what disturbs a run only
// ever makes it slower. `quick` makes fewer and smaller ones (under 0.2 s each).

#include <filesystem>
#include <functional>
#include <vector>

#include "devices/accelerator.h"
#include "devices/base/units.h"
#include "devices/machine_file.h"
#include "devices/storage.h"
#include "devices/workers.h"

namespace sluice {

// Traffic (bytes read + bytes written) of an update in place of three arrays, as Adam makes
// it; `total` bytes together, more than the caches hold.
BytesPerSecond measure_memory_update(Workers& workers, Bytes total, bool quick);

struct StorageRates {
  BytesPerSecond read, write;  // 1 MiB blocks, 16 in flight, of one direction at a time
  Bytes block;
  int depth = 0;
  Seconds latency{};        // of one 4 KiB read
  double mixed_factor = 1;  // both directions at once over the sum of each alone
};

// Uses at most `most` of the folder's disk, for a moment, and half of what is
// free. Errors: those of open_storage.
StorageRates measure_storage(const std::filesystem::path& folder, Bytes most, bool quick,
                             StorageBackend backend = StorageBackend::kAuto);

struct LinkRates {
  BytesPerSecond host_to_device, device_to_host;
  double duplex_factor = 1;  // both at once over the sum of each alone, 0.5 to 1
  Seconds latency{};         // of the smallest copy, enqueue to done
};
LinkRates measure_links(Accelerator& accelerator, bool quick);

// For links of their own: rates by size, smallest first, of host memory that is pinned or not.
std::vector<CopyPoint> measure_copies(Accelerator& accelerator, bool pinned, bool quick);

// Keeps both links busy for about `time` while `beside` runs on the host; returns what that took.
Seconds measure_beside_copies(Accelerator& accelerator, const LinkRates& alone, Seconds time,
                              const std::function<void()>& beside);

}  // namespace sluice

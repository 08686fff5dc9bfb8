// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a run or a machine file asks of an accelerator, as plain data.

#include <vector>

#include "devices/base/units.h"

namespace sluice {

// How fast a link is; rate.value 0 is "as fast as memory".
struct LinkPace {
  BytesPerSecond rate = {};
  Seconds latency{};
};

struct AcceleratorOptions {
  int threads = 1;             // host: that compute, the queue's own included
  std::vector<int> cpus = {};  // host: logical CPUs to bind them to; empty: as the process
  LinkPace host_to_device = {};
  LinkPace device_to_host = {};
  Bytes capacity = {};  // host: RAM to play device memory; 0: all that is there
};

}  // namespace sluice

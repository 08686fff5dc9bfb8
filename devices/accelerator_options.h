// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a run or a machine file asks of an accelerator, as plain data.

#include <string>
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
  Seconds muster{};  // host: a computing queue begins once all its threads have run, if they do
                     // within so long (Workers::muster); 0: whether they run is not looked at
  LinkPace host_to_device = {};
  LinkPace device_to_host = {};
  Bytes capacity = {};      // device memory to use, RAM on the host; 0: all that is there
  std::string bus_id = {};  // cuda: the GPU, "0000:17:00.0"; empty: the first one
};

// Which device a run computes on; choose_device() answers it.
struct DeviceChoice {
  std::string kind = "host";
  std::string bus_id;       // of several of one kind; else empty
  std::string description;  // for people
  Bytes memory;             // of the whole device; 0: RAM, which the host's limits tell
  std::string note;         // why not a better one, where that is worth a word
};

}  // namespace sluice

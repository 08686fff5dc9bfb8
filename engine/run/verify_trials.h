// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What `verify` runs: placements of one workload, and the ways to run each.

#include <string>
#include <vector>

#include "devices/storage.h"
#include "offload/cost_model.h"
#include "offload/placement.h"
#include "offload/workload.h"

namespace sluice {

// One placement and the way it is run.
struct Trial {
  Placement placement;
  int threads = 1;
  bool serial = false;
  StorageBackend io = StorageBackend::kThreads;
  std::string io_name = "-";  // no storage is used
  bool clips = true;          // as the config says; false: not at all
  bool mixed = false;         // homes differ by layer
};

struct TrialChoices {
  bool clips = true;           // Trial::clips
  std::vector<bool> deferred;  // times of the update
  std::size_t least = 40;      // trials, of a covering set
  bool all = false;            // the full product instead
  std::vector<int> threads;
  std::vector<std::string> io;  // "uring", "threads"
};

// Everything on the device, one operation at a time, one thread.
Trial reference_trial(const Workload& workload, bool clips);

// Every pair of choices at least once, and some of those once more with homes that differ by
// layer; or the full product, less what comes to the same Program run the same way.
std::vector<Trial> trials_of(const Workload& workload, const CostModel& costs,
                             const TrialChoices& choices);

// One line.
std::string text_of(const Trial& trial);

}  // namespace sluice

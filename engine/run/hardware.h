// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Everything a run takes from the machine, taken at once and touched before step 0.

#include <array>
#include <filesystem>
#include <memory>

#include "devices/storage.h"
#include "devices/workers.h"
#include "engine/run/device.h"
#include "offload/execute.h"

namespace sluice {

struct HardwareOptions {
  std::array<Bytes, kTierCount> extent;  // of each arena and of the swap file
  int threads = 1;                       // of each computing lane
  std::filesystem::path storage_folder;
  StorageBackend io = StorageBackend::kAuto;
  bool checksum = true;   // of what is on storage
  bool nameless = false;  // the swap file (StorageOptions)
};

class Hardware {
 public:
  // Errors: kNoFit where RAM, disk or the device is too small, kIo and kConfig of the storage.
  Hardware(OpenDevice device, const HardwareOptions& options);

  Resources resources();
  Storage* storage() { return storage_.get(); }
  const Accelerator& accelerator() const { return *open_.accelerator; }

 private:
  // Queues of executors must be gone before the accelerator: they live elsewhere.
  OpenDevice open_;
  std::unique_ptr<Arena> device_, host_;
  std::unique_ptr<Storage> storage_;  // may hold on to host_'s memory
  Workers workers_;
};

}  // namespace sluice

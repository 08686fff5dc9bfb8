// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A checkpoint on disk. Nothing of it is believed: every chunk is summed in memory and
// compared before a value of it is handed on.
//
// Errors   Error{kData} with file, tensor and offset.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "engine/checkpoint/manifest.h"
#include "offload/state_access.h"
#include "offload/workload.h"

namespace sluice {

class CheckpointReader {
 public:
  // Reads the manifest, and looks at the sizes and headers of the files.
  explicit CheckpointReader(std::filesystem::path folder);

  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& path() const { return folder_; }

  // Masters and moments into the tiers of a plan; weights are masters in the compute type.
  // Moments of another type are converted. One chunk is held at a time.
  // Error{kData} also where the tensors are another model's.
  void load(const Workload& workload, StateAccess& state) const;

  // Sums every chunk of one part. What load() does, without a model.
  void verify(StatePart part) const;
  // All parts, as the drive has them now. Uses 512 KiB of the stack.
  // `between` is called after each piece that was read.
  void verify_on_drive(const std::function<void()>& between = {}) const;

 private:
  class Chunks;

  void check_file(const ManifestFile& file) const;
  void check(StatePart part, bool past_cache, const std::function<void()>& between) const;
  const ManifestTensor& find(StatePart part, const TensorSpec& tensor) const;

  std::filesystem::path folder_;
  Manifest manifest_;
};

}  // namespace sluice

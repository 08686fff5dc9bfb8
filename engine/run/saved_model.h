// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A model at rest (of a run directory, a checkpoint, or a Hugging Face folder), ready to be
// run forward: its weights resident on a device, without optimizer state.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/config/run_config.h"
#include "engine/run/hardware.h"
#include "offload/builder.h"

namespace sluice {

// The folder with config.json that `path` means: itself, or of a run directory model/ or the
// newest checkpoint, whichever was written last. Error{kData} where there is none.
std::filesystem::path model_folder_of(const std::filesystem::path& path);

class SavedModel {
 public:
  // Memory is taken for forward passes of up to `sequences` x `length` tokens, on the device
  // that limits.accelerator names; "auto" takes the host where the GPU's memory is too small.
  // Errors: kData of the folder, kConfig of the device, kNoFit.
  SavedModel(const std::filesystem::path& folder, DType dtype, std::int64_t sequences,
             std::int64_t length, const std::string& device = "auto");

  const ModelShape& shape() const { return shape_; }

  // A forward pass over `sequences` x `length` tokens, no more than was asked for.
  struct Pass {
    Model model;
    Workload workload;
    Program program;
    std::unique_ptr<Executor> executor;
  };
  std::unique_ptr<Pass> pass(std::int64_t sequences, std::int64_t length, ForwardOutput output);

 private:
  // Says where everything would lie on `device`, and opens it.
  OpenDevice lay_out(const DeviceChoice& device, std::int64_t sequences, std::int64_t length);
  Pass build(std::int64_t sequences, std::int64_t length, ForwardOutput output) const;

  ModelShape shape_;
  DType dtype_;
  std::string kind_;            // of the device
  std::vector<Bytes> weights_;  // offsets of the weights, by flat parameter
  std::array<Bytes, kTierCount> extent_{};
  std::unique_ptr<Hardware> hardware_;
};

}  // namespace sluice

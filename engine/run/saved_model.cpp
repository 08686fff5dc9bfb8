// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/saved_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "devices/base/error.h"
#include "devices/topology.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/files/model_json.h"
#include "engine/model/model.h"
#include "engine/run/weights.h"
#include "offload/check.h"

namespace sluice {

std::filesystem::path model_folder_of(const std::filesystem::path& path) {
  const auto written = [](const std::filesystem::path& file) {
    std::error_code missing;
    return std::filesystem::last_write_time(file, missing);  // the oldest of times if missing
  };
  if (std::filesystem::exists(path / "config.json")) return path;
  const std::filesystem::path model = path / "model";
  // A run that was killed after it went on from its model has newer checkpoints.
  const auto checkpoint = newest_checkpoint(path / "checkpoints");
  if (checkpoint && written(*checkpoint / "manifest.json") > written(model / "config.json")) {
    return *checkpoint;
  }
  if (std::filesystem::exists(model / "config.json")) return model;
  throw Error(ErrorKind::kData,
              fmt::format("{}: neither a model folder (config.json) nor a run directory with "
                          "model/ or checkpoints/",
                          path.string()));
}

namespace {

std::vector<Bytes> weight_offsets(const Program& program) {
  std::vector<Bytes> offsets;
  for (const Buffer& buffer : program.buffers) {
    if (buffer.role == Role::kWeight && buffer.persistent) offsets.push_back(buffer.offset);
  }
  return offsets;
}

}  // namespace

SavedModel::Pass SavedModel::build(std::int64_t sequences, std::int64_t length,
                                   ForwardOutput output) const {
  Pass pass;
  pass.model = make_model(
      shape_, {.dtype = dtype_, .gradient = dtype_, .global_batch = sequences, .length = length});
  pass.workload = pass.model.workload(sequences);
  pass.program = build_forward(pass.workload, resident_placement(pass.workload, true),
                               /*with_states=*/false, output);
  return pass;
}

SavedModel::SavedModel(const std::filesystem::path& folder, DType dtype, std::int64_t sequences,
                       std::int64_t length)
    : shape_(read_model_json(folder)), dtype_(dtype) {
  const MachineLimits limits = effective_limits();
  const Pass largest = build(sequences, length, ForwardOutput::kLogits);
  weights_ = weight_offsets(largest.program);
  const Pass losses = build(sequences, length, ForwardOutput::kLosses);
  for (std::size_t tier = 0; tier < kTierCount; ++tier) {
    extent_[tier] = std::max(largest.program.extent[tier], losses.program.extent[tier]);
  }
  hardware_ = std::make_unique<Hardware>(
      default_machine(limits), HardwareOptions{.extent = extent_, .threads = limits.cpu.threads});
  StateAccess state(largest.workload, largest.program, hardware_->resources());
  if (std::filesystem::exists(folder / "manifest.json")) {
    CheckpointReader(folder).verify(StatePart::kMaster);
  }
  load_folder(largest.workload, folder, state);
}

std::unique_ptr<SavedModel::Pass> SavedModel::pass(std::int64_t sequences, std::int64_t length,
                                                   ForwardOutput output) {
  auto pass = std::make_unique<Pass>(build(sequences, length, output));
  // Weights are the first buffers of every program: they lie where they were loaded.
  SLUICE_CHECK(weight_offsets(pass->program) == weights_);
  for (std::size_t tier = 0; tier < kTierCount; ++tier) {
    SLUICE_CHECK(pass->program.extent[tier] <= extent_[tier]);
  }
  pass->executor =
      std::make_unique<Executor>(pass->workload, pass->program, derive_waits(pass->program),
                                 pass->model.layers, hardware_->resources(), ExecuteOptions{});
  return pass;
}

}  // namespace sluice

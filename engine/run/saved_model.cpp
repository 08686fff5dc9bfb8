// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/saved_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/base/error.h"
#include "devices/registry.h"
#include "devices/topology.h"
#include "engine/checkpoint/checkpoint_folder.h"
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
  pass.model = make_model(shape_, {.dtype = dtype_,
                                   .gradient = dtype_,
                                   .global_batch = sequences,
                                   .length = length,
                                   .device = kind_});
  pass.workload = pass.model.workload(sequences);
  pass.program = build_forward(pass.workload, resident_placement(pass.workload, true),
                               /*with_states=*/false, output);
  return pass;
}

OpenDevice SavedModel::lay_out(const DeviceChoice& device, std::int64_t sequences,
                               std::int64_t length) {
  kind_ = device.kind;
  const Pass largest = build(sequences, length, ForwardOutput::kLogits);
  weights_ = weight_offsets(largest.program);
  const Pass losses = build(sequences, length, ForwardOutput::kLosses);
  for (std::size_t tier = 0; tier < kTierCount; ++tier) {
    extent_[tier] = std::max(largest.program.extent[tier], losses.program.extent[tier]);
  }
  const MachineLimits limits = effective_limits();
  return open_device(
      kind_, accelerator_options(default_machine(limits, device), device, limits.cpu.threads));
}

SavedModel::SavedModel(const std::filesystem::path& folder, DType dtype, std::int64_t sequences,
                       std::int64_t length, const std::string& device)
    : shape_(read_model_json(folder)), dtype_(dtype) {
  check_folder(shape_, ModelFolderReader(folder));
  OpenDevice open = lay_out(choose_device(device), sequences, length);
  if (device == "auto" && extent_[index_of(Tier::kDevice)] > open.accelerator->capacity()) {
    open = lay_out(choose_device("host"), sequences, length);
  }
  const Pass largest = build(sequences, length, ForwardOutput::kLogits);
  hardware_ = std::make_unique<Hardware>(
      std::move(open),
      HardwareOptions{.extent = extent_, .threads = effective_limits().cpu.threads});
  StateAccess state(largest.workload, largest.program, hardware_->resources());
  load_folder(largest.workload, shape_, folder, state);
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

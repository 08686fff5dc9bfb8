// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Weights between model folders and the tiers that a plan gave them. They move in
// blocks of a MiB: memory beside the plan's does not grow with the model.

#include <filesystem>

#include "devices/workers.h"
#include "engine/config/run_config.h"
#include "engine/files/model_folder.h"
#include "offload/state_access.h"

namespace sluice {

// What is known of a start before anything is planned for it, which takes long for the model
// that a hostile config.json may describe: check_folder of model.path, and a line where its
// dropout is left out. Errors: kData of the model folder.
void check_start(const ModelChoice& model);

// The start of a run: the weights of model.path, or random ones from `seed`, which `workers`
// draw together. Errors: kData of the model folder.
void load_start(const Workload& workload, const ModelChoice& model, std::uint64_t seed,
                Workers& workers, StateAccess& state);

// The weights of a model folder, whoever reads them. Those of a checkpoint (it has a manifest)
// are what was written: every chunk of them has been summed. Errors: kData.
ModelFolderReader open_weights(const std::filesystem::path& folder);

// The weights of a model folder that check_folder accepts. Errors: kData.
void load_folder(const Workload& workload, const ModelShape& shape,
                 const std::filesystem::path& folder, StateAccess& state);

// That the folder holds every tensor of the model in its shape, and no others. Reads no
// weights. Errors: kData.
void check_folder(const ModelShape& shape, const ModelFolderReader& reader);

// Writes a Hugging Face folder at `target`, whole or not at all, in the compute
// type. What came with model.path beside the weights goes along. Errors: kIo; an older
// folder there stays.
void save_folder(const Workload& workload, const ModelChoice& model, StateAccess& state,
                 const std::filesystem::path& target);

}  // namespace sluice

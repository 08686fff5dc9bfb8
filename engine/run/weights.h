// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Weights between model folders and the tiers that a plan gave them.

#include <filesystem>

#include "engine/config/run_config.h"
#include "offload/state_access.h"

namespace sluice {

// The start of a run: the weights of config.path, or random ones from `seed`.
// Errors: kData of the model folder.
void load_start(const Workload& workload, const ModelChoice& model, std::uint64_t seed,
                StateAccess& state);

// The weights of a model folder. Errors: kData.
void load_folder(const Workload& workload, const std::filesystem::path& folder, StateAccess& state);

// Writes a Hugging Face folder at `target`, whole or not at all, in the compute
// type. Errors: kIo; an older folder there stays.
void save_folder(const Workload& workload, const ModelShape& shape, StateAccess& state,
                 const std::filesystem::path& target);

}  // namespace sluice

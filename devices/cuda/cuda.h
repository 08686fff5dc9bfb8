// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the registry sees of CUDA; the same in a build without a toolkit.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"

namespace sluice {

// Errors: one line that says why there is no GPU to train on, mostly kConfig.
std::unique_ptr<Accelerator> make_cuda_accelerator(const AcceleratorOptions& options);

// The GPU of `which`, as choose_cuda_device(); its kind is "cuda". Creates no context.
DeviceChoice choose_cuda(const std::string& which);

// Whether the driver's kernel module is loaded: then a GPU that cannot be used is worth
// a word. `root` stands before /proc, for tests.
bool cuda_driver_is_loaded(const std::filesystem::path& root = "/");

// For doctor: a line for each GPU with name, bus id, memory and compute
// capability, or one line that says why there is none. Creates no context.
std::vector<std::string> cuda_device_summary();

}  // namespace sluice

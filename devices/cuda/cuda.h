// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the registry sees of CUDA; the same in a build without a toolkit.

#include <memory>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"

namespace sluice {

// Errors: one line that says why there is no GPU to train on, mostly kConfig.
std::unique_ptr<Accelerator> make_cuda_accelerator(const AcceleratorOptions& options);

// For doctor: a line for each GPU with name, bus id, memory and compute
// capability, or one line that says why there is none. Creates no context.
std::vector<std::string> cuda_device_summary();

}  // namespace sluice

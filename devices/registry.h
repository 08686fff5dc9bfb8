// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Makes accelerators by name: the one place that sees all back ends.

#include <memory>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"

namespace sluice {

// "host", or "cuda". Errors: kConfig for another kind, or where the machine or this
// build has no such device, with the reason.
std::unique_ptr<Accelerator> make_accelerator(const std::string& kind,
                                              const AcceleratorOptions& options);

// The device that `name` means on this machine: "auto" (a GPU that this build can use, else
// the host), "host", "cuda" (the first GPU), "cuda:1" (by number) or a PCI bus id. Opens nothing.
// Errors: kConfig where there is no such device, with the reason; never for "auto".
DeviceChoice choose_device(const std::string& name);

// For people: a line for each GPU, or one that says why there is none.
std::vector<std::string> gpu_summary();

}  // namespace sluice

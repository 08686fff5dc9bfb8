// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Makes accelerators by name: the one place that sees all back ends.

#include <memory>
#include <string>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"

namespace sluice {

// "host". Errors: kConfig for a kind this build does not have, naming those it has.
std::unique_ptr<Accelerator> make_accelerator(const std::string& kind,
                                              const AcceleratorOptions& options);

}  // namespace sluice

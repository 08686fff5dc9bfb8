// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The text of a machine file, for where it goes anywhere but into a file of its own.

#include <string>

#include "devices/machine_file.h"

namespace sluice {

// What save_machine writes and load_machine reads.
std::string to_toml(const Machine& machine);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Text that a person wrote: configs, machine files, plans.

#include <istream>
#include <string>

#include "devices/base/error.h"

namespace sluice {

// All of `in`. Error{kind} with `name` where there are more than 16 MiB: no such file is
// that long, and a device may have no end.
std::string read_text(std::istream& in, const std::string& name, ErrorKind kind);

}  // namespace sluice

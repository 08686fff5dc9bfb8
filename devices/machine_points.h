// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The parts of a machine file that are lists of measurements: links by size of a copy,
// products and attention by shape.

#include <string>

#include "devices/machine_file.h"
#include "devices/machine_section.h"

namespace sluice {

void read_link_points(MachineSection& links, Machine& machine);
void read_compute_points(MachineSection& compute, Machine& machine);

// As they stand in a file, behind the other keys of their table.
std::string link_points_text(const Machine& machine);
std::string compute_points_text(const Machine& machine);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Gives every buffer of a Program its place, so that two buffers share bytes only
// if their lifetimes in the serial order are disjoint.

#include <vector>

#include "offload/program.h"

namespace sluice {

// First and last operation (index in serial order) that touches a buffer.
struct Lifetime {
  std::int32_t first = -1, last = -1;
};
std::vector<Lifetime> lifetimes_of(const Program& program);

// Fills Buffer::offset, Program::extent and Program::peak_by_role. Persistent
// buffers come first, in the order of their ids. Transient buffers of one size
// share slots (the slot longest free is taken, which leaves the most slack to
// overlap); slots are packed largest first.
// Alignment: 4 KiB, or 256 bytes for buffers below that.
void assign_offsets(Program& program);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The third interpreter: runs a Program on symbols, without arithmetic. Every
// byte holds a value number; a move copies it, a kernel makes a new one from
// those of its operands. Two placements of one workload must end with the same
// number in every tensor. It finds what derived edges cannot: a wrong serial order
// (a gradient drained before its last sum), or memory shared while in use.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "offload/program.h"
#include "offload/workload.h"

namespace sluice {

using Symbol = std::uint64_t;  // 0: bytes that nobody has written

// What a Program computes in `steps` steps and a drain.
struct SymbolicRun {
  std::vector<Symbol> weights, states;  // by flat parameter
  std::vector<Symbol> reports;          // losses, norm of each step
  std::string fault;                    // not empty: an operation read what nobody had written
};
SymbolicRun run_on_symbols(const Workload& workload, const Program& program, int steps);

// The first difference, in words, or nothing. `reference` is the same step with
// everything resident, updated at the same time (deferred or during backward).
std::optional<std::string> check(const Workload& workload, const Program& program,
                                 const SymbolicRun& reference, int steps = 2);

// Everything on the device, Adam too: what other placements are compared with.
Placement resident_placement(const Workload& workload, bool deferred);

}  // namespace sluice

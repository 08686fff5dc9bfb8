// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Where the state of a step goes while training goes on. What becomes of it (files,
// formats, names) is the sink's alone.

#include <cstddef>
#include <cstdint>
#include <span>

#include "offload/state_names.h"

namespace sluice {

// Elements of one logical tensor: first, first + 1, ... of its master or of a moment, in
// the type that the part is kept in. A piece begins at a multiple of 64 elements, and ends
// at one or where the tensor ends.
struct StatePiece {
  int flat = 0;            // of Workload::flats
  std::size_t tensor = 0;  // of FlatParameter::tensors
  StatePart part = StatePart::kMaster;
  std::int64_t first = 0;
  std::span<const std::byte> bytes;  // valid during the call
};

// Threads  wants() and wait_until_safe() on the host_compute lane; write() and end() on the save
//          lane, for one step after the other. wants() of a later step may run beside them.
//          abandon() on any.
// Errors   what is thrown here ends the run: a sink that can do without a save keeps its
//          failures to itself.
class StateSink {
 public:
  virtual ~StateSink() = default;

  // Whether the state after `step` is to be saved. Asked once, before that step begins.
  virtual bool wants(std::int64_t step) = 0;

  // Every element of masters and moments once, as it is after `step`, in any order.
  virtual void write(std::int64_t step, const StatePiece& piece) = 0;

  // All of them have been written.
  virtual void end(std::int64_t step) = 0;

  // Returns when what was wanted of the steps before `step` is safe. Called before `step` is
  // reported, when all of them has been written: whoever waits here holds training up, and so
  // a crash costs little more than the steps between two saves.
  virtual void wait_until_safe(std::int64_t /*step*/) {}

  // The run has failed: no more comes, and nobody may go on waiting.
  virtual void abandon() noexcept {}
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The host device's arenas, of device and of host memory alike: plain RAM.

#include "devices/accelerator.h"
#include "devices/mapped_memory.h"

namespace sluice {

using HostArenaOptions = MappedMemoryOptions;

class HostArena final : public Arena {
 public:
  // The contents are zero. Errors: kNoFit with the bytes and who limits them.
  explicit HostArena(const HostArenaOptions& options) : memory_(options) {}

  std::byte* base() noexcept override { return memory_.base(); }
  Bytes size() const noexcept override { return memory_.size(); }

 private:
  MappedMemory memory_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How much RAM this process may really take: the least of what the machine has
// and what every control group around us allows, less what is in use there.

#include <filesystem>
#include <string>

#include "devices/base/units.h"

namespace sluice {

struct RamLimit {
  Bytes total;            // of the limit that binds
  Bytes available;        // of it, still free
  std::string source;     // which one: "MemTotal", "cgroup memory.max of /user.slice", "ulimit -v"
  bool of_group = false;  // a control group's: the rest of the machine does not draw on it
};

// `root` stands before /proc and /sys, for tests with a machine made of files;
// ulimits are then not looked at.
RamLimit ram_limit(const std::filesystem::path& root = "/");

}  // namespace sluice

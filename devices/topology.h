// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What this process may use of the machine, each amount with the name of the
// limit that binds.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "devices/base/units.h"
#include "devices/ram_limit.h"
#include "devices/storage/file_system.h"

namespace sluice {

struct CpuLimit {
  std::vector<int> cpus;   // logical, that the affinity mask allows
  int threads = 1;         // worth starting: cpus, cut by a quota
  int physical_cores = 1;  // that `cpus` belong to
  int numa_nodes = 1;      // likewise
  Bytes last_level_cache;  // all that `cpus` share or own; 0 where it is not known
  std::string source;      // "CPUs online", "affinity mask", "cgroup cpu.max of /x"
};

struct MachineLimits {
  std::string cpu_model;
  std::string simd;  // simd_level()
  CpuLimit cpu;
  RamLimit ram;
  Bytes ram_installed;
  std::optional<Bytes> locked_memory;  // ulimit -l; nothing: no limit
  std::optional<Bytes> address_space;  // ulimit -v; nothing: no limit
};

// `root` stands before /proc and /sys, for tests with a machine made of files.
// The affinity mask, ulimits and cores are always this process's.
MachineLimits effective_limits(const std::filesystem::path& root = "/");

struct FolderLimits {
  FileSystem file_system;
  Bytes free;
};

// Errors: kIo where `folder` is missing.
FolderLimits folder_limits(const std::filesystem::path& folder);

}  // namespace sluice

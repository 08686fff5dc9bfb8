// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/machine_file.h"
#include "devices/storage.h"
#include "devices/topology.h"
#include "tools/commands.h"

namespace sluice {
namespace {

struct Finding {
  std::string what, value;
  std::string mend;  // what to type; empty: nothing is missing
};

// Tries a back end on a small file: the one way to know.
Finding try_storage(const std::filesystem::path& folder, StorageBackend backend,
                    const std::string& name) {
  Finding finding{.what = "storage by " + name};
  try {
    const auto storage =
        open_storage({.folder = folder, .size = Bytes{1 << 20}, .backend = backend});
    finding.value = "works: " + storage->description();
  } catch (const Error& error) {
    finding.value = error.what();
    finding.mend = "pass --limits.io threads, or give another --limits.storage_path";
  }
  return finding;
}

std::vector<Finding> examine() {
  const MachineLimits limits = effective_limits();
  const std::filesystem::path here = std::filesystem::current_path();
  const FolderLimits disk = folder_limits(here);
  std::vector<Finding> found;
  found.push_back({"processor", fmt::format("{}, {}", limits.cpu_model, limits.simd), ""});
  found.push_back(
      {"threads",
       fmt::format("{} of {} physical cores, {} NUMA node(s), limited by {}", limits.cpu.threads,
                   limits.cpu.physical_cores, limits.cpu.numa_nodes, limits.cpu.source),
       ""});
  found.push_back(
      {"memory",
       fmt::format("{} free of {} installed; {} binds at {}", format_bytes(limits.ram.available),
                   format_bytes(limits.ram_installed), limits.ram.source,
                   format_bytes(limits.ram.total)),
       ""});
  found.push_back({"locked memory",
                   limits.locked_memory ? format_bytes(*limits.locked_memory) : "no limit",
                   limits.locked_memory && limits.locked_memory->value < (64 << 20)
                       ? "ulimit -l unlimited (faster io_uring transfers)"
                       : ""});
  const bool memory = disk.file_system.kind == FileSystemKind::kMemory;
  found.push_back({"disk here",
                   fmt::format("{} free on {}", format_bytes(disk.free), disk.file_system.name),
                   memory ? "give --limits.storage_path a folder on a drive" : ""});
  if (!memory) {
    found.push_back(try_storage(here, StorageBackend::kUring, "io_uring"));
    found.push_back(try_storage(here, StorageBackend::kThreads, "threads"));
  }
  const std::filesystem::path cached = cached_machine_path(limits);
  const bool probed = std::filesystem::exists(cached);
  found.push_back({"machine file", probed ? cached.string() : "none: forecasts use defaults",
                   probed ? "" : "sluice probe"});
  found.push_back({"accelerators", "host (this build has no CUDA)", ""});
  return found;
}

}  // namespace

int run_doctor(bool json) {
  const std::vector<Finding> found = examine();
  if (json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Finding& finding : found) {
      rows.push_back({{"what", finding.what}, {"value", finding.value}, {"mend", finding.mend}});
    }
    fmt::print("{}\n", rows.dump(2));
    return 0;
  }
  for (const Finding& finding : found) {
    fmt::print("{:<20}{}\n", finding.what, finding.value);
    if (!finding.mend.empty()) fmt::print("{:<20}-> {}\n", "", finding.mend);
  }
  return 0;
}

}  // namespace sluice

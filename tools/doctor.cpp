// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include <oneapi/tbb/version.h>
#include <nlohmann/json.hpp>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/machine_file.h"
#include "devices/registry.h"
#include "devices/storage.h"
#include "devices/storage/stale_swap.h"
#include "devices/topology.h"
#include "engine/run/limits.h"
#include "kernels/kernels.h"
#include "tools/commands.h"

namespace sluice {
namespace {

struct Finding {
  std::string what, value;
  std::string mend;  // what to type; empty: nothing is missing
};

// A folder for a moment, so that a run that uses the folder above is not disturbed.
class TrialFolder {
 public:
  explicit TrialFolder(const std::filesystem::path& above) {
    std::string name = (above / ".sluice-doctor-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw Error(ErrorKind::kIo, with_errno(above.string() + ": cannot be written", errno));
    }
    path_ = name;
  }
  ~TrialFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TrialFolder(const TrialFolder&) = delete;
  TrialFolder& operator=(const TrialFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Tries a back end on a small file: the one way to know.
Finding try_storage(const std::filesystem::path& folder, StorageBackend backend,
                    const std::string& name, const std::string& mend) {
  Finding finding{.what = "storage by " + name};
  try {
    const auto storage =
        open_storage({.folder = folder, .size = Bytes{1 << 20}, .backend = backend});
    finding.value = "works: " + storage->description();
  } catch (const Error& error) {
    finding.value = error.what();
    finding.mend = mend;
  }
  return finding;
}

void examine_storage(const std::filesystem::path& folder, std::vector<Finding>& found) {
  const std::string another = "give --limits.storage_path a writable folder on a local drive";
  Finding disk{"storage folder", folder.string(), ""};
  try {
    check_storage_folder(folder);
    const FolderLimits limits = folder_limits(folder);
    disk.value +=
        fmt::format(": {} free on {}", format_bytes(limits.free), limits.file_system.name);
    if (limits.file_system.kind == FileSystemKind::kNetwork) disk.mend = another;
  } catch (const Error& error) {
    disk.value = error.what();
    disk.mend = another;
    found.push_back(disk);
    return;
  }
  found.push_back(disk);
  const TrialFolder trial(folder);
  found.push_back(try_storage(trial.path(), StorageBackend::kUring, "io_uring",
                              "sysctl kernel.io_uring_disabled=0, and allow io_uring in the "
                              "container; until then threads are used, at more CPU"));
  found.push_back(try_storage(trial.path(), StorageBackend::kThreads, "threads", another));
}

// Swap files in the storage folder and in run directories below it.
void examine_swap_files(const std::filesystem::path& folder, std::vector<Finding>& found) {
  for (const FoundSwapFile& file : find_swap_files(folder)) {
    Finding finding{"swap file", describe(file), ""};
    if (file.state == FoundSwapFile::State::kStale) {
      finding.mend = fmt::format("sluice clean {}", file.path.string());
    }
    found.push_back(finding);
  }
}

std::vector<Finding> examine_machine(const MachineLimits& limits) {
  std::vector<Finding> found;
  utsname system{};
  static_cast<void>(::uname(&system));
  found.push_back({"sluice",
                   fmt::format("{}, oneTBB {}, {} {}", SLUICE_VERSION, TBB_runtime_version(),
                               system.sysname, system.release),
                   ""});
  found.push_back({"processor", fmt::format("{}, {}", limits.cpu_model, limits.simd), ""});
  found.push_back({"threads",
                   fmt::format("{} on {} physical cores, {} NUMA node{}; {} binds",
                               limits.cpu.threads, limits.cpu.physical_cores, limits.cpu.numa_nodes,
                               limits.cpu.numa_nodes == 1 ? "" : "s", limits.cpu.source),
                   ""});
  found.push_back(
      {"memory",
       fmt::format("{} free of {} installed; {} binds at {}", format_bytes(limits.ram.available),
                   format_bytes(limits.ram_installed), limits.ram.source,
                   format_bytes(limits.ram.total)),
       ""});
  const bool little = limits.locked_memory && limits.locked_memory->value < (64 << 20);
  found.push_back({"locked memory",
                   limits.locked_memory ? format_bytes(*limits.locked_memory) : "no limit",
                   little ? "ulimit -l unlimited (registered buffers: faster io_uring)" : ""});
  return found;
}

// Where there is no GPU, nothing is missing; where there is one that is not used, the line
// that says why ends with what mends it.
void examine_devices(std::vector<Finding>& found) {
  const DeviceChoice chosen = choose_device("auto");
  for (const std::string& line : gpu_summary()) {
    const std::size_t remedy = chosen.note.empty() ? std::string::npos : line.find("; ");
    found.push_back({"GPU", line.substr(0, remedy),
                     remedy == std::string::npos ? "" : line.substr(remedy + 2)});
  }
  found.push_back(
      {"computes on", chosen.kind == "host" ? "the host device" : chosen.description, ""});
  if (chosen.kind == "host") return;
  for (const std::string& note : kernel_notes(chosen.kind)) found.push_back({"kernels", note, ""});
}

std::vector<Finding> examine(const std::filesystem::path& storage) {
  const MachineLimits limits = effective_limits();
  std::vector<Finding> found = examine_machine(limits);
  examine_storage(storage, found);
  if (std::filesystem::exists(storage)) examine_swap_files(storage, found);
  examine_devices(found);
  const std::filesystem::path cached = cached_machine_path(limits, choose_device("auto"));
  const bool probed = std::filesystem::exists(cached);
  found.push_back({"machine file", probed ? cached.string() : "none: forecasts rest on defaults",
                   probed ? "" : "sluice probe"});
  return found;
}

}  // namespace

int run_doctor(const DoctorOptions& options) {
  const std::vector<Finding> found = examine(options.storage);
  if (options.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Finding& finding : found) {
      rows.push_back({{"what", finding.what}, {"value", finding.value}, {"mend", finding.mend}});
    }
    const auto lossy = nlohmann::ordered_json::error_handler_t::replace;
    fmt::print("{}\n", rows.dump(2, ' ', false, lossy));
    return 0;
  }
  for (const Finding& finding : found) {
    fmt::print("{:<20}{}\n", finding.what, finding.value);
    if (!finding.mend.empty()) fmt::print("{:<20}-> {}\n", "", finding.mend);
  }
  return 0;
}

}  // namespace sluice

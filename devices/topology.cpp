// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/topology.h"

#include <fmt/format.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>

#include "devices/cgroup.h"
#include "devices/simd_level.h"

namespace sluice {
namespace {

// What follows "NAME<blanks>: " on the first such line of a file in /proc.
std::string line_value(const std::filesystem::path& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const std::size_t first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? "" : line.substr(first);
  }
  return "";
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  // The kernel refuses a set smaller than its own, so grow until it fits.
  for (int size = 1024; size <= (1 << 20); size *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(
        CPU_ALLOC(static_cast<std::size_t>(size)), [](cpu_set_t* s) { CPU_FREE(s); });
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(size));
    if (sched_getaffinity(0, bytes, set.get()) != 0) continue;
    for (int cpu = 0; cpu < size; ++cpu) {
      if (CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, set.get())) cpus.push_back(cpu);
    }
    return cpus;
  }
  return {0};
}

// CPUs' worth of time per second that a group allows; nothing where it does not say.
std::optional<double> quota_of(const ControlGroup& group) {
  const std::string file = group.version == 2 ? "cpu.max" : "cpu.cfs_quota_us";
  const std::optional<std::int64_t> quota = group_number(group, file);
  if (!quota) return std::nullopt;
  std::int64_t period = 100'000;
  if (group.version == 2) {
    std::ifstream stream(group.folder / file);
    std::int64_t again = 0;
    stream >> again >> period;
  } else {
    period = group_number(group, "cpu.cfs_period_us").value_or(period);
  }
  if (period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(period);
}

// Cores, memory nodes and caches that `cpus` lie in. Without hwloc's help: one each.
void look_around(CpuLimit& limit) {
  limit.physical_cores = static_cast<int>(limit.cpus.size());
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return;
  const std::unique_ptr<hwloc_topology, void (*)(hwloc_topology*)> owner(topology,
                                                                         hwloc_topology_destroy);
  if (hwloc_topology_load(topology) != 0) return;
  const std::unique_ptr<hwloc_bitmap_s, void (*)(hwloc_bitmap_t)> mine(hwloc_bitmap_alloc(),
                                                                       hwloc_bitmap_free);
  for (const int cpu : limit.cpus) hwloc_bitmap_set(mine.get(), static_cast<unsigned>(cpu));
  const auto touched = [&](hwloc_obj_type_t type) {
    std::vector<hwloc_obj_t> objects;
    for (hwloc_obj_t it = hwloc_get_next_obj_by_type(topology, type, nullptr); it != nullptr;
         it = hwloc_get_next_obj_by_type(topology, type, it)) {
      if (hwloc_bitmap_intersects(it->cpuset, mine.get()) != 0) objects.push_back(it);
    }
    return objects;
  };
  const auto count = [&](hwloc_obj_type_t type) { return static_cast<int>(touched(type).size()); };
  limit.physical_cores = count(HWLOC_OBJ_CORE) > 0 ? count(HWLOC_OBJ_CORE) : limit.physical_cores;
  limit.numa_nodes = std::max(1, count(HWLOC_OBJ_NUMANODE));
  for (const hwloc_obj_t cache : touched(HWLOC_OBJ_L3CACHE)) {
    limit.last_level_cache.value += static_cast<std::int64_t>(cache->attr->cache.size);
  }
}

CpuLimit cpu_limit(const std::filesystem::path& root) {
  CpuLimit limit;
  limit.cpus = allowed_cpus();
  limit.threads = static_cast<int>(limit.cpus.size());
  limit.source = limit.threads < sysconf(_SC_NPROCESSORS_ONLN) ? "affinity mask" : "CPUs online";
  for (const ControlGroup& group : control_groups(root, "cpu")) {
    const std::optional<double> quota = quota_of(group);
    // 1.5 CPUs are worth two threads, 1.4 are not.
    const int threads = quota ? std::max(1, static_cast<int>(std::lround(*quota))) : limit.threads;
    if (threads >= limit.threads) continue;
    limit.threads = threads;
    limit.source = fmt::format("cgroup {} of {}",
                               group.version == 2 ? "cpu.max" : "cpu.cfs_quota_us", group.name);
  }
  look_around(limit);
  return limit;
}

std::optional<Bytes> resource_limit(__rlimit_resource resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return Bytes{static_cast<std::int64_t>(limit.rlim_cur)};
}

}  // namespace

MachineLimits effective_limits(const std::filesystem::path& root) {
  MachineLimits limits;
  limits.cpu_model = line_value(root / "proc/cpuinfo", "model name");
  if (limits.cpu_model.empty()) limits.cpu_model = "unknown CPU";
  limits.simd = simd_level();
  limits.cpu = cpu_limit(root);
  limits.ram = ram_limit(root);
  const std::string installed = line_value(root / "proc/meminfo", "MemTotal");
  limits.ram_installed = {std::strtoll(installed.c_str(), nullptr, 10) * 1024};
  limits.locked_memory = resource_limit(RLIMIT_MEMLOCK);
  limits.address_space = resource_limit(RLIMIT_AS);
  return limits;
}

FolderLimits folder_limits(const std::filesystem::path& folder) {
  return {file_system_of(folder), free_space(folder)};
}

}  // namespace sluice

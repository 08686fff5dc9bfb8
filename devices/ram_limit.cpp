// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/ram_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "devices/cgroup.h"

namespace sluice {
namespace {

// A line "NAME:   NUMBER kB" of a file in /proc.
std::optional<Bytes> kilobyte_line(const std::filesystem::path& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) {
      return Bytes{std::strtoll(line.c_str() + name.size() + 1, nullptr, 10) * 1024};
    }
  }
  return std::nullopt;
}

// What a group uses and could not drop: page cache goes when somebody needs it.
Bytes in_use(const ControlGroup& group) {
  const bool v2 = group.version == 2;
  const std::int64_t used =
      group_number(group, v2 ? "memory.current" : "memory.usage_in_bytes").value_or(0);
  std::int64_t droppable = 0;
  for (const char* name : {"inactive_file", "active_file"}) {
    const std::string key = v2 ? name : std::string("total_") + name;
    droppable += group_statistic(group, "memory.stat", key).value_or(0);
  }
  return {std::max<std::int64_t>(0, used - droppable)};
}

void keep_least(RamLimit& least, RamLimit candidate) {
  candidate.available.value = std::max<std::int64_t>(0, candidate.available.value);
  if (candidate.available < least.available) least = std::move(candidate);
}

void consider_group(RamLimit& least, const ControlGroup& group) {
  const std::vector<std::string> files = group.version == 2
                                             ? std::vector<std::string>{"memory.max", "memory.high"}
                                             : std::vector<std::string>{"memory.limit_in_bytes"};
  for (const std::string& file : files) {
    const std::optional<std::int64_t> limit = group_number(group, file);
    if (!limit) continue;
    keep_least(least, {{*limit},
                       Bytes{*limit} - in_use(group),
                       fmt::format("cgroup {} of {}", file, group.name),
                       /*of_group=*/true});
  }
}

void consider_address_space(RamLimit& least) {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  const Bytes total{static_cast<std::int64_t>(limit.rlim_cur)};
  const Bytes mapped = kilobyte_line("/proc/self/status", "VmSize").value_or(Bytes{});
  keep_least(least, {total, total - mapped, "ulimit -v"});
}

}  // namespace

RamLimit ram_limit(const std::filesystem::path& root) {
  const Bytes unknown{std::numeric_limits<std::int64_t>::max()};
  const std::filesystem::path meminfo = root / "proc/meminfo";
  const Bytes total = kilobyte_line(meminfo, "MemTotal").value_or(unknown);
  RamLimit least{total, kilobyte_line(meminfo, "MemAvailable").value_or(total), "MemTotal"};
  for (const ControlGroup& group : control_groups(root, "memory")) consider_group(least, group);
  if (root == "/") consider_address_space(least);
  return least;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The control groups around this process, v1 and v2 (or both, as systemd's hybrid
// layout has it).

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

// The folder of one control group.
struct ControlGroup {
  int version = 2;
  std::string name;              // path inside its hierarchy: "/user.slice"
  std::filesystem::path folder;  // where its files are, `root` included
};

// The groups that `controller` ("memory", "cpu") of this process is subject to,
// its own first and the hierarchy's root last. Groups outside a container's view
// are not there. Empty where there are no control groups.
std::vector<ControlGroup> control_groups(const std::filesystem::path& root,
                                         const std::string& controller);

// The number in `file` of a group; nothing for "max", -1, v1's "no limit" and
// files that are not there.
std::optional<std::int64_t> group_number(const ControlGroup& group, const std::string& file);

// Like group_number, for one line "KEY NUMBER" of a file such as memory.stat.
std::optional<std::int64_t> group_statistic(const ControlGroup& group, const std::string& file,
                                            const std::string& key);

}  // namespace sluice

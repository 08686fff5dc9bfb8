// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace sluice {
namespace {

// v1 says "no limit" by a number close to 2^63.
constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;

struct Membership {
  int version = 2;
  std::string path;
};

bool lists(const std::string& comma_separated, const std::string& word) {
  return ("," + comma_separated + ",").find("," + word + ",") != std::string::npos;
}

// Where this process is, by /proc/self/cgroup: lines "ID:CONTROLLERS:PATH", with
// no controllers for v2.
std::vector<Membership> memberships(const std::filesystem::path& root,
                                    const std::string& controller) {
  std::vector<Membership> found;
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) {
      found.push_back({2, line.substr(second + 1)});
    } else if (lists(controllers, controller)) {
      found.push_back({1, line.substr(second + 1)});
    }
  }
  return found;
}

struct Mount {
  std::string inside;  // the part of the hierarchy that is mounted
  std::filesystem::path at;
};

// Where a hierarchy is mounted, by /proc/self/mountinfo: "... INSIDE AT OPTIONS ... -
// TYPE SOURCE SUPEROPTIONS".
std::optional<Mount> find_mount(const std::filesystem::path& root, int version,
                                const std::string& controller) {
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream head(line.substr(0, dash));
    std::istringstream tail(line.substr(dash + 3));
    std::string id, parent, device, inside, at, type, source, options;
    head >> id >> parent >> device >> inside >> at;
    tail >> type >> source >> options;
    const bool matches =
        version == 2 ? type == "cgroup2" : type == "cgroup" && lists(options, controller);
    if (matches) return Mount{inside, root / std::filesystem::path(at).relative_path()};
  }
  return std::nullopt;
}

// `path` as seen from the mounted part of the hierarchy; "/" where it lies outside,
// as it does in a container without a cgroup namespace.
std::filesystem::path below(const std::string& path, const std::string& inside) {
  if (inside == "/") return path;
  if (path == inside) return "/";
  if (path.starts_with(inside + "/")) return path.substr(inside.size());
  return "/";
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::filesystem::path& root,
                                         const std::string& controller) {
  std::vector<ControlGroup> groups;
  for (const Membership& membership : memberships(root, controller)) {
    const std::optional<Mount> mount = find_mount(root, membership.version, controller);
    if (!mount) continue;
    std::filesystem::path path = below(membership.path, mount->inside).lexically_normal();
    for (;;) {
      // Without a slash at its end: libstdc++ frees a path with one twice, where it is joined to
      // another and memory is refused.
      const std::filesystem::path inside = path.relative_path();
      const std::filesystem::path folder = inside.empty() ? mount->at : mount->at / inside;
      std::error_code ignored;
      if (std::filesystem::is_directory(folder, ignored)) {
        groups.push_back({membership.version, path.string(), folder});
      }
      if (path == path.root_path() || path.empty()) break;
      path = path.parent_path();
    }
  }
  return groups;
}

std::optional<std::int64_t> group_number(const ControlGroup& group, const std::string& file) {
  std::ifstream stream(group.folder / file);
  std::int64_t number = 0;
  if (!(stream >> number) || number < 0 || number >= kNoLimit) return std::nullopt;
  return number;
}

std::optional<std::int64_t> group_statistic(const ControlGroup& group, const std::string& file,
                                            const std::string& key) {
  std::ifstream stream(group.folder / file);
  std::string name;
  for (std::int64_t number = 0; stream >> name >> number;) {
    if (name == key) return number;
  }
  return std::nullopt;
}

}  // namespace sluice

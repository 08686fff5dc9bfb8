// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// File systems of a test's own: mounted in a mount namespace of the process, so nothing is left
// of them. Needs root.

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "devices/base/units.h"

namespace sluice {

class MountedDisk {
 public:
  struct Kind {
    std::string name;      // "tmpfs", or what mkfs knows
    std::string options;   // of the mount of a tmpfs; else of mkfs
    int sector = 512;      // bytes, of the loop device
    Bytes size{64 << 20};  // of the loop device
  };

  // At `point`, gone with the object.
  MountedDisk(const Kind& kind, std::filesystem::path point) : point_(std::move(point)) {
    std::filesystem::create_directories(point_);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      missing_ = "needs root: a mount namespace";
    } else if (!(kind.name == "tmpfs" ? mount_tmpfs(kind) : mount_loop(kind))) {
      missing_ = "needs " + kind.name + " and loop devices";
    }
  }
  ~MountedDisk() {
    if (missing_.empty()) ::umount2(point_.c_str(), MNT_DETACH);
  }
  MountedDisk(const MountedDisk&) = delete;
  MountedDisk& operator=(const MountedDisk&) = delete;

  // Why there is none; empty: there is one.
  const std::string& missing() const { return missing_; }
  const std::filesystem::path& point() const { return point_; }

 private:
  bool mount_tmpfs(const Kind& kind) const {
    return ::mount("none", point_.c_str(), "tmpfs", 0, kind.options.c_str()) == 0;
  }
  // The loop device goes with its last user, and the file with the loop device.
  bool mount_loop(const Kind& kind) const {
    const std::string command = fmt::format(
        "i=$(mktemp) && truncate -s {} $i && d=$(losetup -f --show -b {} $i); rm -f $i; "
        "mkfs.{} -q {} $d && mount $d '{}'; s=$?; losetup -d $d; exit $s",
        kind.size.value, kind.sector, kind.name, kind.options, point_.string());
    return std::system(("( " + command + " ) >/dev/null 2>&1").c_str()) == 0;
  }

  std::filesystem::path point_;
  std::string missing_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/file_system.h"

#include <fmt/format.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <array>
#include <cerrno>

#include "devices/base/error.h"

namespace sluice {
namespace {

struct Magic {
  std::uint64_t number;
  const char* name;
  FileSystemKind kind;
};

// From statfs(2), linux/magic.h and, for Lustre, GPFS and BeeGFS, their sources.
constexpr std::array kMagics = {
    Magic{0xef53, "ext4", FileSystemKind::kLocal},
    Magic{0x58465342, "xfs", FileSystemKind::kLocal},
    Magic{0x9123683e, "btrfs", FileSystemKind::kLocal},
    Magic{0xf2f52010, "f2fs", FileSystemKind::kLocal},
    Magic{0x2fc12fc1, "zfs", FileSystemKind::kLocal},
    Magic{0xca451a4e, "bcachefs", FileSystemKind::kLocal},
    Magic{0x794c7630, "overlayfs", FileSystemKind::kLocal},
    Magic{0x01021994, "tmpfs", FileSystemKind::kMemory},
    Magic{0x858458f6, "ramfs", FileSystemKind::kMemory},
    Magic{0x958458f6, "hugetlbfs", FileSystemKind::kMemory},
    Magic{0x9fa0, "proc", FileSystemKind::kMemory},
    Magic{0x62656572, "sysfs", FileSystemKind::kMemory},
    Magic{0x6969, "NFS", FileSystemKind::kNetwork},
    Magic{0x0bd00bd0, "Lustre", FileSystemKind::kNetwork},
    Magic{0x47504653, "GPFS", FileSystemKind::kNetwork},
    Magic{0x19830326, "BeeGFS", FileSystemKind::kNetwork},
    Magic{0xff534d42, "CIFS", FileSystemKind::kNetwork},
    Magic{0xfe534d42, "SMB2", FileSystemKind::kNetwork},
    Magic{0x517b, "SMB", FileSystemKind::kNetwork},
    Magic{0x00c36400, "Ceph", FileSystemKind::kNetwork},
    Magic{0x01021997, "9p", FileSystemKind::kNetwork},
    Magic{0x65735546, "FUSE", FileSystemKind::kNetwork},
    Magic{0x5346414f, "AFS", FileSystemKind::kNetwork},
};

}  // namespace

FileSystem file_system_by_magic(std::uint64_t magic) {
  for (const Magic& known : kMagics) {
    if (known.number == magic) return {known.name, known.kind};
  }
  return {fmt::format("type {:#x}", magic), FileSystemKind::kLocal};
}

FileSystem file_system_of(const std::filesystem::path& folder) {
  struct statfs status {};
  if (statfs(folder.c_str(), &status) != 0) {
    throw Error(ErrorKind::kIo,
                with_errno(fmt::format("cannot look at {}", folder.string()), errno));
  }
  // Some architectures have a signed 32-bit f_type, which would extend its sign.
  return file_system_by_magic(static_cast<std::uint32_t>(status.f_type));
}

Bytes free_space(const std::filesystem::path& folder) {
  struct statvfs status {};
  if (statvfs(folder.c_str(), &status) != 0) {
    throw Error(ErrorKind::kIo,
                with_errno(fmt::format("cannot look at {}", folder.string()), errno));
  }
  return {static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize)};
}

}  // namespace sluice

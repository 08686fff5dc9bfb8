// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What kind of file system a folder is on: a tmpfs takes every byte of "disk"
// from RAM without a word, and a network drive is slow in ways nobody foresees.

#include <cstdint>
#include <filesystem>
#include <string>

#include "devices/base/units.h"

namespace sluice {

enum class FileSystemKind : std::uint8_t { kLocal, kMemory, kNetwork };

struct FileSystem {
  std::string name;  // "ext4", "tmpfs", "type 0x1234" where unknown
  FileSystemKind kind = FileSystemKind::kLocal;
};

// By the magic number of statfs(2). Unknown ones count as local.
FileSystem file_system_by_magic(std::uint64_t magic);

// Errors: kIo where `folder` is missing.
FileSystem file_system_of(const std::filesystem::path& folder);

// What an unprivileged process may still write there. Errors: as above.
Bytes free_space(const std::filesystem::path& folder);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A file that is read and not trusted: it may be a device, be cut while it is read, or
// come with names that lead elsewhere.
//
// Threads  read() may be called from many threads.
// Errors   Error{kData} where the file is missing, no regular file, or shorter than
//          what is read; Error{kIo} where the drive fails. Never a signal: nothing is
//          mapped into memory.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "devices/base/units.h"

namespace sluice {

class InputFile {
 public:
  // A path that the user typed: links are followed.
  explicit InputFile(const std::filesystem::path& path);

  // `name` inside `folder`, where a file or a stranger chose the name: it must be a
  // name without a path, and no symbolic link.
  InputFile(const std::filesystem::path& folder, const std::string& name);

  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }  // when it was opened

  // Fills all of `into` from byte `offset`.
  void read(std::int64_t offset, std::span<std::byte> into) const;

  // What is read from here on comes from the drive, and not from memory that holds it still:
  // by direct I/O, or, where the file system has none, after asking the kernel to forget it.
  void read_past_cache();

  // The whole file; one longer than `most` is refused.
  std::string text(Bytes most) const;

 private:
  void check_kind();
  std::int64_t read_direct(std::int64_t offset, std::span<std::byte> into) const;
  void end_direct() const;

  std::filesystem::path path_;
  int descriptor_;  // -1 after being moved from
  std::int64_t size_ = 0;
  mutable std::atomic<bool> direct_{false};
};

// Whether `folder` holds `name`, of whatever kind.
bool has_entry(const std::filesystem::path& folder, const std::string& name);

}  // namespace sluice

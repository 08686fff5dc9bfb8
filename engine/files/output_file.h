// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Files that either appear whole or not at all.
//
// Errors   Error{kIo} with path and errno text; on a full disk, with what is free there; where
//          a link, a FIFO or a device has the name of a file.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "devices/base/units.h"

namespace sluice {

// A file being written, from its start or where the caller says. The system calls are those
// of devices/file_calls.h.
class OutputFile {
 public:
  enum class Mode { kTruncate, kAppend };

  explicit OutputFile(const std::filesystem::path& path, Mode mode = Mode::kTruncate);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  // As much of `text` as the disk has room for. Returns what is left: all is well if nothing.
  [[nodiscard]] std::string_view write_what_fits(std::string_view text);

  // At an offset, whatever was written where; not with kAppend.
  void write_at(Bytes offset, std::span<const std::byte> bytes);

  // Room for `size` bytes: a disk that is too full is known now.
  void reserve(Bytes size);

  // Returns when all that was written would survive a power cut.
  void sync();

  int descriptor() const { return descriptor_; }

 private:
  template <typename Write>
  void write_all(std::span<const std::byte> bytes, Write write);

  std::filesystem::path path_;
  int descriptor_;
};

// A folder that is not there yet, in one that is.
void new_folder(const std::filesystem::path& path);

// Makes the names in `folder` durable.
void sync_folder(const std::filesystem::path& folder);

// The name under which replace_file writes before it renames.
std::filesystem::path partial_of(const std::filesystem::path& path);

// Puts `text` at `path`, durably: a reader sees the old text or the new one.
void replace_file(const std::filesystem::path& path, std::string_view text);

// Renames the file `from`, which is synced, over `to` (same parent), durably.
void put_in_place(const std::filesystem::path& from, const std::filesystem::path& to);

// Puts the folder `from` in the place of `to` (same parent), durably; what stood
// there is removed. After an error both have their old names again.
void replace_folder(const std::filesystem::path& from, const std::filesystem::path& to);

// A file, or a folder with all that is in it.
void remove_path(const std::filesystem::path& path);

}  // namespace sluice

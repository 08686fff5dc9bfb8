// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Files that either appear whole or not at all.
//
// Errors   Error{kIo} with path and errno text.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace sluice {

// A file being written from its start.
class OutputFile {
 public:
  enum class Mode { kTruncate, kAppend };

  explicit OutputFile(const std::filesystem::path& path, Mode mode = Mode::kTruncate);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  // Returns when all that was written would survive a power cut.
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_;
};

// Makes the names in `folder` durable.
void sync_folder(const std::filesystem::path& folder);

// Puts `text` at `path`, durably: a reader sees the old text or the new one.
void replace_file(const std::filesystem::path& path, std::string_view text);

// Puts the folder `from` in the place of `to` (same parent), durably; what stood
// there is removed.
void replace_folder(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace sluice

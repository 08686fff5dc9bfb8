// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The file behind a Storage: named, locked, reserved on disk, and gone when its
// owner is. Nothing in it outlives the process: a stale one is taken over, and its
// data are overwritten unread.
//
// One file per rank and drive: sluice-rank<R>.swap in the folder given for that drive.
// It holds a header block (swap_header.h), then the data.

#include <filesystem>

#include "devices/base/units.h"
#include "devices/storage/swap_header.h"

namespace sluice {

class SwapFile {
 public:
  static constexpr Bytes kAlignment{4096};
  // Where the data begin in the file.
  static constexpr Bytes kData{SwapHeader::kSize};

  // `direct`: past the page cache where the file system allows it.
  // Errors: those of open_storage.
  SwapFile(const std::filesystem::path& folder, Bytes size, bool direct = true);
  ~SwapFile();  // removes the file
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  const std::filesystem::path& path() const noexcept { return path_; }
  Bytes size() const noexcept { return size_; }  // of the data
  const SwapHeader& header() const noexcept { return header_; }
  bool direct() const noexcept { return direct_; }

  // Gives the name up: the file is there until it is closed, for nobody else.
  void drop_name() noexcept;

  // The page cache need not keep this range. Does nothing on a direct file.
  void forget(Bytes offset, Bytes size) const noexcept;

  // Returns when completed writes would survive a power cut. Errors: kIo.
  void sync() const;

 private:
  void open_file(bool direct);
  void lock();
  void take_over();
  bool write_header();  // false: the file system refuses direct I/O after all
  void reserve(const std::filesystem::path& folder);
  void warn_of_page_cache() const;

  std::filesystem::path path_;
  Bytes size_;
  SwapHeader header_;
  int descriptor_ = -1;
  bool direct_ = false;
  bool nameless_ = false;
};

// Removes the swap file that a killed process left in `folder`. One in use stays, and what
// cannot be removed or is not ours does too.
void remove_stale_swap_file(const std::filesystem::path& folder) noexcept;

// The name of the swap file inside its folder.
std::filesystem::path swap_file_name();

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// RAM of an exact size with a guard page behind it, every page touched before
// the constructor returns: what is missing shows at once, and not in step 900.

#include "devices/accelerator.h"

namespace sluice {

struct HostArenaOptions {
  Bytes size;                           // rounded up to whole pages of 4 KiB
  int threads = 1;                      // that touch the pages
  bool huge_pages = true;               // ask for transparent huge pages: fewer TLB misses
  const char* purpose = "host memory";  // for the message of a failure
};

class HostArena final : public Arena {
 public:
  // The contents are zero. Errors: kNoFit with the bytes and who limits them.
  explicit HostArena(const HostArenaOptions& options);
  ~HostArena() override;
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  std::byte* base() noexcept override { return base_; }
  Bytes size() const noexcept override { return size_; }

 private:
  void touch(int threads);

  std::byte* mapping_ = nullptr;
  std::size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  Bytes size_;
};

}  // namespace sluice

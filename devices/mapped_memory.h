// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// RAM of an exact size with a guard page behind it, every page touched before
// the constructor returns: what is missing shows at once, and not in step 900.
// The substance of every arena in RAM.

#include <cstddef>

#include "devices/base/units.h"

namespace sluice {

struct MappedMemoryOptions {
  Bytes size;                           // rounded up to whole pages of 4 KiB
  int threads = 1;                      // that touch the pages
  bool huge_pages = true;               // ask for transparent huge pages: fewer TLB misses
  int numa_node = -1;                   // that pages should come from; -1: as the kernel likes
  const char* purpose = "host memory";  // for the message of a failure
};

class MappedMemory {
 public:
  // The contents are zero. Huge pages and the node are wishes: without them
  // memory is slower and otherwise the same.
  // Errors: kNoFit with the bytes and who limits them.
  explicit MappedMemory(const MappedMemoryOptions& options);
  ~MappedMemory();
  MappedMemory(const MappedMemory&) = delete;
  MappedMemory& operator=(const MappedMemory&) = delete;

  std::byte* base() const noexcept { return base_; }  // 4 KiB aligned
  Bytes size() const noexcept { return size_; }

 private:
  void touch(int threads);

  std::byte* mapping_ = nullptr;
  std::size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  Bytes size_;
};

}  // namespace sluice

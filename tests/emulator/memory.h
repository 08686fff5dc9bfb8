// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The emulated device's memory, and what the device may reach of the host's.

#include <cstddef>
#include <map>
#include <mutex>

namespace emulator {

enum class Reach { kNone, kPinned, kDevice };

// Threads  any.
class Memory {
 public:
  static constexpr std::size_t kCapacity = std::size_t{4} << 30;

  // Null where there is not enough. Zero at first, though nobody may rely on it.
  std::byte* allocate(std::size_t size);
  bool release(void* memory);
  std::size_t free_bytes();

  // False where some of it is already.
  bool pin(void* memory, std::size_t size);
  bool unpin(void* memory);

  // What [memory, memory + size) is; nothing where it begins in one piece and ends in another.
  Reach reach_of(const void* memory, std::size_t size);

  // Device memory is open between these, which nest.
  void open();
  void close();

 private:
  using Pieces = std::map<const std::byte*, std::size_t>;
  static bool overlaps(const Pieces& pieces, const std::byte* memory, std::size_t size);
  static bool holds(const Pieces& pieces, const std::byte* memory, std::size_t size);
  void protect(int protection);

  std::mutex mutex_;
  Pieces device_, pinned_;
  std::size_t used_ = 0;
  int open_ = 0;
};

Memory& memory();

}  // namespace emulator

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tests/emulator/memory.h"

#include <sys/mman.h>

namespace emulator {

std::byte* Memory::allocate(std::size_t size) {
  const std::lock_guard lock(mutex_);
  if (size == 0 || size > kCapacity - used_) return nullptr;
  void* const there = ::mmap(nullptr, size, open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (there == MAP_FAILED) return nullptr;
  used_ += size;
  device_[static_cast<std::byte*>(there)] = size;
  return static_cast<std::byte*>(there);
}

bool Memory::release(void* memory) {
  const std::lock_guard lock(mutex_);
  const auto piece = device_.find(static_cast<std::byte*>(memory));
  if (piece == device_.end()) return false;
  used_ -= piece->second;
  ::munmap(memory, piece->second);
  device_.erase(piece);
  return true;
}

std::size_t Memory::free_bytes() {
  const std::lock_guard lock(mutex_);
  return kCapacity - used_;
}

bool Memory::pin(void* memory, std::size_t size) {
  const std::lock_guard lock(mutex_);
  const auto* const first = static_cast<std::byte*>(memory);
  if (overlaps(pinned_, first, size) || overlaps(device_, first, size)) return false;
  pinned_[first] = size;
  return true;
}

bool Memory::unpin(void* memory) {
  const std::lock_guard lock(mutex_);
  return pinned_.erase(static_cast<std::byte*>(memory)) == 1;
}

Reach Memory::reach_of(const void* memory, std::size_t size) {
  const std::lock_guard lock(mutex_);
  const auto* const first = static_cast<const std::byte*>(memory);
  if (holds(device_, first, size)) return Reach::kDevice;
  return holds(pinned_, first, size) ? Reach::kPinned : Reach::kNone;
}

void Memory::open() {
  const std::lock_guard lock(mutex_);
  if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
}

void Memory::close() {
  const std::lock_guard lock(mutex_);
  if (--open_ == 0) protect(PROT_NONE);
}

void Memory::protect(int protection) {
  for (const auto& [first, size] : device_) {
    ::mprotect(const_cast<std::byte*>(first), size, protection);
  }
}

bool Memory::overlaps(const Pieces& pieces, const std::byte* memory, std::size_t size) {
  auto after = pieces.lower_bound(memory + size);
  return after != pieces.begin() && (--after)->first + after->second > memory;
}

bool Memory::holds(const Pieces& pieces, const std::byte* memory, std::size_t size) {
  auto after = pieces.upper_bound(memory);
  if (after == pieces.begin()) return false;
  const auto& [first, length] = *--after;
  return memory < first + length && size <= static_cast<std::size_t>(first + length - memory);
}

// Never destroyed: handles may outlive what is.
Memory& memory() {
  static Memory& one = *new Memory;
  return one;
}

}  // namespace emulator

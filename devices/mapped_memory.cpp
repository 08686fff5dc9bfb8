// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/mapped_memory.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <thread>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/ram_limit.h"

namespace sluice {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr std::int64_t kHugePage = std::int64_t{2} << 20;
constexpr std::int64_t kTouchedAtOnce = std::int64_t{64} << 20;

// The kernel promises memory it does not have and kills us when we come for it,
// so ask what is there first.
void check_room(const MappedMemoryOptions& options) {
  const RamLimit limit = ram_limit();
  if (options.size <= limit.available) return;
  throw Error(ErrorKind::kNoFit,
              fmt::format("{} needs {} and {} leaves {} of {}: lower --limits.device or "
                          "--limits.host",
                          options.purpose, format_bytes(options.size), limit.source,
                          format_bytes(limit.available), format_bytes(limit.total)));
}

[[noreturn]] void refused(const char* call, Bytes size, int error_number) {
  throw Error(ErrorKind::kNoFit,
              with_errno(fmt::format("{} of {} refused (see ulimit -v and vm.overcommit_memory)",
                                     call, format_bytes(size)),
                         error_number));
}

// Returns 0 or an errno.
int touch_pages(std::byte* first, std::int64_t size) {
  if (madvise(first, static_cast<std::size_t>(size), MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  for (std::int64_t i = 0; i < size; i += kPage) {  // before Linux 5.14
    *static_cast<volatile std::byte*>(first + i) = std::byte{0};
  }
  return 0;
}

// A preference, so that an arena larger than the node spills over instead of
// failing. Containers often forbid the call; then pages come from anywhere.
void prefer_node(std::byte* first, Bytes size, int node) {
  constexpr int bits = 8 * sizeof(unsigned long);
  unsigned long mask[16] = {};
  if (node < 0 || node >= bits * 16) return;
  mask[node / bits] = 1UL << (node % bits);
  // The kernel reads one bit less than it is told.
  static_cast<void>(syscall(SYS_mbind, first, count(size), MPOL_PREFERRED, mask, bits * 16 + 1, 0));
}

}  // namespace

MappedMemory::MappedMemory(const MappedMemoryOptions& options)
    : size_(round_up(options.size, Bytes{kPage})) {
  SLUICE_CHECK(options.size.value >= 0 && options.threads >= 1);
  check_room(options);
  const std::int64_t alignment = options.huge_pages && size_.value >= kHugePage ? kHugePage : kPage;
  mapped_ = static_cast<std::size_t>(size_.value + alignment + kPage);
  void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) refused("mmap", size_, errno);
  mapping_ = static_cast<std::byte*>(mapping);
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(mapping_));
  base_ = mapping_ + (round_up(address, alignment) - address);
  try {
    if (size_.value == 0) return;
    if (mprotect(base_, count(size_), PROT_READ | PROT_WRITE) != 0) {
      refused("mprotect", size_, errno);
    }
    // Advice: a kernel without huge pages is slower and otherwise the same.
    if (alignment == kHugePage) static_cast<void>(madvise(base_, count(size_), MADV_HUGEPAGE));
    prefer_node(base_, size_, options.numa_node);
    touch(options.threads);
  } catch (...) {
    munmap(mapping_, mapped_);
    throw;
  }
}

MappedMemory::~MappedMemory() { munmap(mapping_, mapped_); }

void MappedMemory::touch(int threads) {
  std::atomic<std::int64_t> next{0};
  std::atomic<int> failure{0};
  const auto take_turns = [&] {
    for (;;) {
      const std::int64_t first = next.fetch_add(kTouchedAtOnce, std::memory_order_relaxed);
      if (first >= size_.value || failure.load(std::memory_order_relaxed) != 0) return;
      const int status = touch_pages(base_ + first, std::min(kTouchedAtOnce, size_.value - first));
      if (status != 0) failure.store(status, std::memory_order_relaxed);
    }
  };
  std::vector<std::thread> helpers;
  const std::int64_t useful =
      std::min<std::int64_t>(threads, divide_up(size_.value, kTouchedAtOnce));
  try {
    for (std::int64_t i = 1; i < useful; ++i) helpers.emplace_back(take_turns);
  } catch (const std::exception&) {
    // Fewer hands.
  }
  take_turns();
  for (std::thread& helper : helpers) helper.join();
  if (failure.load() != 0) refused("touching", size_, failure.load());
}

}  // namespace sluice

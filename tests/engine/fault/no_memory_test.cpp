// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Memory that is refused at the n-th request, for n all over a run: it ends with an error, and
// leaves no thread, file or swap file behind (and under AddressSanitizer no memory).

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "tests/engine/run/run_scratch.h"

namespace {

enum class Source { kNone, kNew, kMmap, kAlignedAlloc };
std::atomic<Source> armed{Source::kNone};
std::atomic<long> requests{0};  // of the armed source
std::atomic<long> refused{0};   // which one; 0: none

bool refuse(Source source) {
  return armed.load(std::memory_order_relaxed) == source && ++requests == refused;
}

void* allocate(std::size_t size) {
  void* const memory = refuse(Source::kNew) ? nullptr : std::malloc(size + (size == 0 ? 1 : 0));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" {
void* mmap(void* address, std::size_t size, int protection, int flags, int file, off_t offset) {
  static const auto real = next<void* (*)(void*, std::size_t, int, int, int, off_t)>("mmap");
  if (refuse(Source::kMmap)) return errno = ENOMEM, MAP_FAILED;
  return real(address, size, protection, flags, file, offset);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  static const auto real = next<void* (*)(std::size_t, std::size_t)>("aligned_alloc");
  if (refuse(Source::kAlignedAlloc)) return nullptr;
  return real(alignment, size);
}
}

namespace sluice {
namespace {

class NoMemory : public testing::Test {
 protected:
  // Whether the run came to its end while the n-th request of a source was refused.
  bool trains(Source source, long n) {
    requests = 0;
    refused = n;
    const LoadedConfig config = scratch_.config(
        {{"place.optimizer", "storage"}, {"train.steps", "2"}, {"eval.sequences", "1"}});
    const TrainOptions options{.run_dir = scratch_ / "run", .overwrite = true};
    armed = source;
    try {
      sluice::train(config, options);
    } catch (const Error& error) {
      armed = Source::kNone;
      EXPECT_NE(error.kind(), ErrorKind::kData) << error.what();
      return false;
    } catch (const std::bad_alloc&) {  // the command's main(): exit 3
      armed = Source::kNone;
      return false;
    }
    armed = Source::kNone;
    return true;
  }

  static std::size_t entries(const char* folder) {
    const std::filesystem::directory_iterator begin(folder), end;
    return static_cast<std::size_t>(std::distance(begin, end));
  }

  // Refuses `points` of a source's requests, the first ones and others all over the run.
  void refuse_many(Source source, long points) {
    ASSERT_TRUE(trains(source, 0));
    const long all = requests;
    ASSERT_GT(all, 0);
    const std::size_t files = entries("/proc/self/fd");
    const std::size_t threads = entries("/proc/self/task");
    long failed = 0;
    for (long point = 0; point < points; ++point) {
      const long n = point < 20 || all <= points ? point + 1 : 1 + point * all / points;
      if (n > all) break;
      failed += trains(source, n) ? 0 : 1;
      ASSERT_FALSE(scratch_.exists("run/sluice-rank0.swap")) << "request " << n;
      ASSERT_LE(entries("/proc/self/fd"), files) << "request " << n;
      ASSERT_LE(entries("/proc/self/task"), threads) << "request " << n;
    }
    EXPECT_GT(failed, 0);
    EXPECT_TRUE(trains(source, 0));
  }

  RunScratch scratch_;
};

TEST_F(NoMemory, RefusedByNewTheRunEndsAndLeavesNothing) { refuse_many(Source::kNew, 180); }

TEST_F(NoMemory, RefusedByMmapTheRunEndsAndLeavesNothing) { refuse_many(Source::kMmap, 20); }

TEST_F(NoMemory, RefusedByAlignedAllocTheRunEndsAndLeavesNothing) {
  refuse_many(Source::kAlignedAlloc, 20);
}

}  // namespace
}  // namespace sluice

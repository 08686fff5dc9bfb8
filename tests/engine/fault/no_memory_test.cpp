// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Memory that is refused at the n-th request, for n all over a run: it ends with an error, and
// leaves no open file and no swap file behind (and under AddressSanitizer no memory).

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <system_error>

#include "devices/base/log.h"
#include "devices/base/out_of_memory.h"
#include "tests/engine/fault/killed_run.h"
#include "tests/engine/run/run_scratch.h"
#include "tests/soak.h"

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
  if (memory != nullptr) return memory;
  if (const std::new_handler handler = std::get_new_handler()) handler();  // as libstdc++'s does
  throw std::bad_alloc();
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return refuse(Source::kNew) ? nullptr : std::malloc(size + (size == 0 ? 1 : 0));
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept {
  return operator new(size, tag);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" {
#if defined(SLUICE_SANITIZE_address) && defined(__clang__)
void* __interceptor_aligned_alloc(std::size_t alignment, std::size_t size);
#endif

// An object of nlohmann's that is built from a list loses what it holds so far where the
// next entry gets no memory. The run ends there anyway.
const char* __lsan_default_suppressions() { return "leak:basic_json(std::initializer_list\n"; }

void* mmap(void* address, std::size_t size, int protection, int flags, int file, off_t offset) {
  static const auto real = next<void* (*)(void*, std::size_t, int, int, int, off_t)>("mmap");
  if (refuse(Source::kMmap)) return errno = ENOMEM, MAP_FAILED;
  return real(address, size, protection, flags, file, offset);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
#if defined(SLUICE_SANITIZE_address) && defined(__clang__)
  static const auto real = __interceptor_aligned_alloc;  // linked statically: no next one
#else
  static const auto real = next<void* (*)(std::size_t, std::size_t)>("aligned_alloc");
#endif
  if (refuse(Source::kAlignedAlloc)) return nullptr;
  return real(alignment, size);
}
}

namespace sluice {
namespace {

// How many requests a run makes, and how it ended.
struct Ending {
  int code = 0;  // 0: it trained to the end
  long requests = 0;
};

class NoMemory : public testing::Test {
 protected:
  // A run in a process of its own, with the n-th request of a source refused.
  Ending train(Source source, long n) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      exit_where_memory_is_refused();
      const int code = train_here(source, n);
      const long made = requests;
      static_cast<void>(!::write(ends[1], &made, sizeof made));
      std::exit(code);  // where AddressSanitizer looks for leaks
    }
    ::close(ends[1]);
    Ending ending;
    static_cast<void>(!::read(ends[0], &ending.requests, sizeof ending.requests));
    ::close(ends[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "request " << n << ", signal " << WTERMSIG(status);
    ending.code = WEXITSTATUS(status);
    return ending;
  }

  // Refuses `points` of a source's requests, the first ones and others all over the run.
  void refuse_many(Source source, long points) {
    const Ending whole = train(source, 0);
    ASSERT_EQ(whole.code, 0);
    ASSERT_GT(whole.requests, 0);
    long failed = 0;
    for (long point = 0; point < points; ++point) {
      const long n =
          point < 20 || whole.requests <= points ? point + 1 : point * whole.requests / points;
      if (n > whole.requests) break;
      const Ending ending = train(source, n);
      ASSERT_TRUE(ending.code == 0 || ending.code == exit_code(ErrorKind::kNoFit) ||
                  ending.code == exit_code(ErrorKind::kIo) || ending.code == kLeft)
          << "request " << n << ": exit " << ending.code;
      ASSERT_NE(ending.code, kLeft) << "request " << n << " left a file open or its swap file";
      failed += ending.code == 0 ? 0 : 1;
    }
    EXPECT_GT(failed, 0);
  }

 private:
  static constexpr int kLeft = 99;

  static std::size_t entries(const char* folder) {
    const std::filesystem::directory_iterator begin(folder), end;
    return static_cast<std::size_t>(std::distance(begin, end));
  }

  int train_here(Source source, long n) {
    // Fixed, so that there is little to search.
    const LoadedConfig config = scratch_.config({{"place.optimizer", "storage"},
                                                 {"place.weights", "host"},
                                                 {"place.gradients", "host"},
                                                 {"place.activations", "device"},
                                                 {"place.adam", "host"},
                                                 {"place.update", "deferred"},
                                                 {"place.recompute", "none"},
                                                 {"place.wave", "1"},
                                                 {"place.fetch_ahead", "1"},
                                                 {"place.drain_late", "1"},
                                                 {"train.steps", "2"},
                                                 {"eval.sequences", "1"}});
    const TrainOptions options{.run_dir = scratch_ / "run", .overwrite = true};
    // No machine file of this machine's: toml++ takes a number for which a stream of the
    // library's gets no memory for one that is none.
    ::setenv("XDG_CACHE_HOME", (scratch_ / "cache").c_str(), 1);
    set_quiet(true);
    const std::size_t files = entries("/proc/self/fd");
    int code = 0;
    requests = 0;
    refused = n;
    armed = source;
    try {
      sluice::train(config, options);
      armed = Source::kNone;
    } catch (const Error& error) {
      armed = Source::kNone;
      code = exit_code(error.kind());
    } catch (const std::bad_alloc&) {
      armed = Source::kNone;
      code = exit_code(ErrorKind::kNoFit);
    } catch (const std::system_error&) {
      armed = Source::kNone;
      code = exit_code(ErrorKind::kIo);
    }
    const bool left = scratch_.exists("run/sluice-rank0.swap") || entries("/proc/self/fd") > files;
    return left ? kLeft : code;
  }

  RunScratch scratch_;
};

TEST_F(NoMemory, RefusedByNewTheRunEndsAndLeavesNothing) {
  refuse_many(Source::kNew, times(180, 5000));
}

// libstdc++ calls terminate() there while no exception counts as caught, so what is on its way
// cannot be asked.
TEST(NoMemoryInALibrary, RefusedWhereItMayNotThrowTheProcessExitsInsteadOfAborting) {
  const std::filesystem::path folder = SLUICE_SOURCE_DIR;
  const auto ends_with = [&](long n) {
    return in_child([&] {
      exit_where_memory_is_refused();
      requests = 0;
      refused = n;
      armed = Source::kNew;
      try {
        static_cast<void>(std::filesystem::directory_iterator(folder));
      } catch (const std::bad_alloc&) {
        return 1;
      }
      return 0;
    });
  };
  int exits = 0, n = 1;
  for (int end = -1; end != 0; ++n) {
    end = ends_with(n);
    ASSERT_TRUE(end == 0 || end == 1 || end == exit_code(ErrorKind::kNoFit))
        << "request " << n << ": " << end;
    exits += end == exit_code(ErrorKind::kNoFit) ? 1 : 0;
  }
  if (exits == 0) GTEST_SKIP() << "needs a libstdc++ whose directory_iterator may not throw";
}

TEST_F(NoMemory, RefusedByMmapTheRunEndsAndLeavesNothing) { refuse_many(Source::kMmap, 20); }

TEST_F(NoMemory, RefusedByAlignedAllocTheRunEndsAndLeavesNothing) {
  refuse_many(Source::kAlignedAlloc, 20);
}

}  // namespace
}  // namespace sluice

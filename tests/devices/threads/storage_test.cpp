// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "devices/base/error.h"
#include "devices/host/host_arena.h"
#include "devices/storage/swap_file.h"
#include "devices/storage/thread_storage.h"
#include "devices/storage/uring_storage.h"
#include "tests/devices/temporary_folder.h"
#include "tests/soak.h"

namespace sluice {
namespace {

using namespace literals;

// Counts completions and lets the test wait for them.
struct Counter final : Storage::Listener {
  void completed(std::uint64_t, std::exception_ptr error) noexcept override {
    if (error) failed.fetch_add(1);
    done.fetch_add(1);
    done.notify_all();
  }
  void wait_for(int count) const {
    for (int seen = done.load(); seen < count; seen = done.load()) done.wait(seen);
  }
  std::atomic<int> done{0};
  std::atomic<int> failed{0};
};

struct Memory {
  explicit Memory(Bytes size) : arena({.size = size}) {}
  std::span<std::byte> all() { return {arena.base(), count(arena.size())}; }
  std::span<std::byte> part(Bytes first, Bytes size) {
    return all().subspan(count(first), count(size));
  }
  void fill(unsigned seed) {
    std::mt19937 random(seed);
    for (std::size_t i = 0; i + 4 <= all().size(); i += 4) {
      const std::uint32_t word = static_cast<std::uint32_t>(random());
      std::memcpy(all().data() + i, &word, 4);
    }
  }
  HostArena arena;
};

class StorageTest : public testing::TestWithParam<StorageBackend> {
 protected:
  // Null, and the test skipped, where this machine forbids io_uring.
  std::unique_ptr<Storage> open(Bytes size, int depth = 16) {
    try {
      return open_storage(
          {.folder = folder_.path(), .size = size, .backend = GetParam(), .depth = depth});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kConfig) throw;
      [&] { GTEST_SKIP() << error.what(); }();
      return nullptr;
    }
  }

  TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(, StorageTest,
                         testing::Values(StorageBackend::kUring, StorageBackend::kThreads),
                         [](const auto& back_end) {
                           return back_end.param == StorageBackend::kUring ? "Uring" : "Threads";
                         });

TEST_P(StorageTest, GivesBackWhatWasWritten) {
  const auto storage = open(9_MiB);
  if (!storage) return;
  Memory out(9_MiB);
  Memory in(9_MiB);
  out.fill(1);
  write_now(*storage, 0_B, out.all());
  storage->sync();
  read_now(*storage, 0_B, in.all());
  EXPECT_EQ(std::memcmp(out.all().data(), in.all().data(), in.all().size()), 0);
  // Odd pieces: below, at and above the block size, at crooked offsets.
  for (const Bytes size : {4_KiB, 1_MiB, 1_MiB + 4_KiB, 3_MiB - 4_KiB}) {
    std::memset(in.all().data(), 0, in.all().size());
    read_now(*storage, 12_KiB, in.part(8_KiB, size));
    EXPECT_EQ(std::memcmp(in.all().data() + 8192, out.all().data() + 12288, count(size)), 0);
  }
}

TEST_P(StorageTest, RegisteredMemoryGivesTheSameBytes) {
  Memory memory(4_MiB);
  const auto storage = open(2_MiB, 4);
  if (!storage) return;
  storage->lend(memory.part(0_B, 3_MiB));
  memory.fill(2);
  write_now(*storage, 0_B, memory.part(0_B, 2_MiB));   // inside
  read_now(*storage, 0_B, memory.part(2_MiB, 2_MiB));  // half outside
  EXPECT_EQ(std::memcmp(memory.all().data(), memory.all().data() + (2 << 20), 2 << 20), 0);
}

TEST_P(StorageTest, ManyTransfersAreInFlightTogether) {
  constexpr int kTransfers = 600;  // more than fit the queue
  const auto storage = open(Bytes{kTransfers * 8192}, 8);
  if (!storage) return;
  Memory out(storage->size());
  Memory in(storage->size());
  out.fill(3);
  Counter counter;
  for (int i = 0; i < kTransfers; ++i) {
    storage->write({i * 8192}, out.part({i * 8192}, 8_KiB), counter, 0);
  }
  counter.wait_for(kTransfers);
  for (int i = kTransfers - 1; i >= 0; --i) {
    storage->read({i * 8192}, in.part({i * 8192}, 8_KiB), counter, 0);
  }
  counter.wait_for(2 * kTransfers);
  EXPECT_EQ(counter.failed, 0);
  EXPECT_EQ(std::memcmp(out.all().data(), in.all().data(), in.all().size()), 0);
}

// Which transfers ended, and how often.
struct Completions final : Storage::Listener {
  explicit Completions(std::size_t tags) : of(tags) {}
  void completed(std::uint64_t tag, std::exception_ptr error) noexcept override {
    ++of[tag];
    counter.completed(tag, std::move(error));
  }
  Counter counter;
  std::vector<std::atomic<int>> of;
};

TEST_P(StorageTest, AFloodAtAnyDepthCompletesEveryTransferOnce) {
  constexpr int kBlocks = 1024;
  for (const int depth : {1, 7, 64, 1024}) {
    if (depth > 64 && GetParam() == StorageBackend::kThreads) break;  // each is a thread there
    const int rounds = times(2, 9 * depth);                           // ten million in all
    const auto storage = open(Bytes{kBlocks * 4096}, depth);
    if (!storage) return;
    Memory memory(storage->size());
    Completions completions(kBlocks);
    for (int round = 1; round <= rounds; ++round) {
      for (int i = 0; i < kBlocks; ++i) {
        const Bytes at{i * 4096};
        const auto tag = static_cast<std::uint64_t>(i);
        if (round % 2 == 1) {
          storage->write(at, memory.part(at, 4_KiB), completions, tag);
        } else {
          storage->read(at, memory.part(at, 4_KiB), completions, tag);
        }
      }
      completions.counter.wait_for(round * kBlocks);
      for (const std::atomic<int>& of : completions.of) {
        ASSERT_EQ(of, round) << "depth " << depth;
      }
    }
    EXPECT_EQ(completions.counter.failed, 0);
  }
}

TEST_P(StorageTest, DestructorFinishesWhatWasStarted) {
  Memory memory(8_MiB);
  Counter counter;
  auto storage = open(8_MiB, 2);
  if (!storage) return;
  for (int i = 0; i < 8; ++i)
    storage->write(Bytes{i} * (1 << 20), memory.part(0_B, 1_MiB), counter, 0);
  storage.reset();
  EXPECT_EQ(counter.done, 8);
}

TEST_P(StorageTest, ReadBehindTheEndOfAShrunkFileIsAnErrorThatSaysWhere) {
  const auto storage = open(2_MiB);
  if (!storage) return;
  std::filesystem::resize_file(folder_.path() / swap_file_name(), SwapHeader::kSize + (1 << 20));
  Memory memory(2_MiB);
  try {
    read_now(*storage, 0_B, memory.all());
    FAIL() << "bytes out of nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    const std::string what = error.what();
    EXPECT_NE(what.find("cannot read 1.0 MiB at offset 1052672"), std::string::npos) << what;
    EXPECT_NE(what.find("end of file"), std::string::npos) << what;
  }
}

TEST_P(StorageTest, ShortReadIsTakenUpAgainWhereItEnded) {
  const auto storage = open(2_MiB);
  if (!storage) return;
  // The file ends inside the second block: the first read of it is short, and
  // only the part behind the end fails.
  std::filesystem::resize_file(folder_.path() / swap_file_name(),
                               SwapHeader::kSize + (1 << 20) + 65536);
  Memory memory(2_MiB);
  try {
    read_now(*storage, 0_B, memory.all());
    FAIL() << "bytes out of nothing";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("at offset 1118208"), std::string::npos)
        << error.what();
  }
}

TEST_P(StorageTest, PageCacheFallbackGivesTheSameBytes) {
  auto file = std::make_unique<SwapFile>(folder_.path(), 3_MiB, /*direct=*/false);
  EXPECT_FALSE(file->direct());
  const StorageOptions options{.folder = folder_.path(), .size = 3_MiB};
  std::string refusal;
  const auto storage = GetParam() == StorageBackend::kUring
                           ? open_uring_storage(file, options, refusal)
                           : open_thread_storage(std::move(file), options);
  if (!storage) GTEST_SKIP() << refusal;
  Memory out(3_MiB);
  Memory in(3_MiB);
  out.fill(4);
  write_now(*storage, 0_B, out.all());
  read_now(*storage, 0_B, in.all());
  EXPECT_EQ(std::memcmp(out.all().data(), in.all().data(), in.all().size()), 0);
}

TEST_P(StorageTest, SecondOpeningOfAFolderIsRefused) {
  const auto storage = open(1_MiB);
  if (!storage) return;
  try {
    open_storage({.folder = folder_.path(), .size = 1_MiB, .backend = GetParam()});
    FAIL() << "one file, two owners";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  }
}

using StorageDeathTest = StorageTest;
INSTANTIATE_TEST_SUITE_P(, StorageDeathTest, testing::Values(StorageBackend::kThreads));

TEST_P(StorageDeathTest, MisalignedTransferIsABug) {
  const auto storage = open(1_MiB);
  Memory memory(1_MiB);
  EXPECT_DEATH(read_now(*storage, 100_B, memory.part(0_B, 4_KiB)), "aligned");
  EXPECT_DEATH(read_now(*storage, 0_B, memory.part(0_B, 100_B)), "aligned");
  EXPECT_DEATH(read_now(*storage, 1_MiB, memory.part(0_B, 4_KiB)), "size");
}

}  // namespace
}  // namespace sluice

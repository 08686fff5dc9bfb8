// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Swap files on file systems and drives of every alignment: the same bytes, with direct I/O.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "devices/base/error.h"
#include "devices/host/host_arena.h"
#include "devices/storage.h"
#include "devices/storage/swap_file.h"
#include "tests/devices/temporary_folder.h"
#include "tests/support/mounted_disk.h"

namespace sluice {
namespace {

using namespace literals;

struct Case {
  std::string name;
  MountedDisk::Kind disk;
};
void PrintTo(const Case& made, std::ostream* out) { *out << made.name; }

const std::vector<Case> kCases = {
    {"Ext4Blocks1K", {.name = "ext4", .options = "-b 1024"}},
    {"Ext4Sectors4K", {.name = "ext4", .options = "-b 4096", .sector = 4096}},
    {"Xfs", {.name = "xfs", .options = "", .size = 320_MiB}},
    {"XfsSectors4K", {.name = "xfs", .options = "", .sector = 4096, .size = 320_MiB}},
};

class OnFileSystem : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!disk_.missing().empty()) GTEST_SKIP() << disk_.missing();
  }
  TemporaryFolder folder_;
  MountedDisk disk_{GetParam().disk, folder_.path() / "mnt"};
};
INSTANTIATE_TEST_SUITE_P(, OnFileSystem, testing::ValuesIn(kCases),
                         [](const auto& made) { return made.param.name; });

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(size);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

TEST_P(OnFileSystem, EveryBackEndGivesBackWhatWasWritten) {
  constexpr Bytes kLength = 3_MiB + 4_KiB;
  const std::vector<std::byte> bytes = random_bytes(count(kLength));
  HostArena memory({.size = kLength});
  const std::span all(memory.base(), count(kLength));
  for (const StorageBackend backend : {StorageBackend::kThreads, StorageBackend::kUring}) {
    std::unique_ptr<Storage> storage;
    try {
      storage = open_storage({.folder = disk_.point(), .size = kLength, .backend = backend});
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kConfig) << error.what();  // no io_uring here
      continue;
    }
    std::copy(bytes.begin(), bytes.end(), all.begin());
    write_now(*storage, 0_B, all);
    storage->sync();
    // In pieces of odd numbers of blocks, at odd blocks.
    std::ranges::fill(all, std::byte{0});
    for (std::size_t at = 0, blocks = 1; at < all.size(); blocks += 2) {
      const std::size_t size = std::min(blocks * 4096, all.size() - at);
      read_now(*storage, Bytes{static_cast<std::int64_t>(at)}, all.subspan(at, size));
      at += size;
    }
    EXPECT_TRUE(std::ranges::equal(all, bytes));
  }
}

TEST_P(OnFileSystem, OurAlignmentIsAMultipleOfWhatDirectTransfersNeedThere) {
  const SwapFile file(disk_.point(), 1_MiB, /*direct=*/true);
  EXPECT_TRUE(file.direct());
#ifdef STATX_DIOALIGN
  struct statx status {};
  const std::string name = disk_.point() / swap_file_name();
  ASSERT_EQ(statx(AT_FDCWD, name.c_str(), 0, STATX_DIOALIGN, &status), 0);
  if ((status.stx_mask & STATX_DIOALIGN) == 0) GTEST_SKIP() << "needs a kernel that says it";
  ASSERT_GT(status.stx_dio_offset_align, 0U);
  EXPECT_EQ(SwapFile::kAlignment.value % status.stx_dio_offset_align, 0);
  EXPECT_EQ(SwapFile::kAlignment.value % status.stx_dio_mem_align, 0);
  EXPECT_EQ(SwapFile::kData.value % status.stx_dio_offset_align, 0);
#else
  GTEST_SKIP() << "needs headers with STATX_DIOALIGN";
#endif
}

}  // namespace
}  // namespace sluice

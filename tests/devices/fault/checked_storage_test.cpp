// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/checked_storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "devices/host/host_arena.h"
#include "devices/storage/swap_file.h"
#include "tests/devices/temporary_folder.h"
#include "tests/support/faulty_storage.h"

namespace sluice {
namespace {

using namespace literals;

constexpr Bytes kSize = 1_MiB;

// A storage of random pages, whose file the test can reach behind its back.
struct Checked {
  Checked() { refill(); }

  void refill() {
    std::span<std::byte> all = bytes();
    for (std::size_t i = 0; i < all.size(); i += 8) {
      const std::uint64_t word = random();
      std::memcpy(all.data() + i, &word, 8);
    }
    write_now(*storage, 0_B, all);
  }
  std::span<std::byte> bytes() { return {memory.base(), count(kSize)}; }

  // Empty where the range is read as it was written.
  std::string read(Bytes offset, Bytes size) {
    try {
      read_now(*storage, offset, {memory.base(), count(size)});
      return {};
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
      return error.what();
    }
  }

  TemporaryFolder folder;
  std::unique_ptr<Storage> storage = open_storage({.folder = folder.path(),
                                                   .size = kSize,
                                                   .backend = StorageBackend::kThreads,
                                                   .checksum = true,
                                                   .depth = 2});
  HostArena memory{{.size = kSize}};
  std::mt19937_64 random{3};
};

TEST(CheckedStorage, EveryFlippedBitOfTheFileIsSeenAndItsPageNamed) {
  Checked checked;
  const std::filesystem::path path = checked.folder.path() / swap_file_name();
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(file, 0);
  const auto flip = [&](std::int64_t at, int bit) {
    unsigned char byte = 0;
    ASSERT_EQ(pread(file, &byte, 1, at), 1);
    byte = static_cast<unsigned char>(byte ^ (1U << bit));
    ASSERT_EQ(pwrite(file, &byte, 1, at), 1);
  };
  for (int i = 0; i < 1000; ++i) {
    const auto at = static_cast<std::int64_t>(checked.random() % count(kSize));
    const int bit = static_cast<int>(checked.random() % 8);
    const std::int64_t page = at / 4096 * 4096;
    flip(4096 + at, bit);
    const std::string what = checked.read({page / 65536 * 65536}, 64_KiB);
    EXPECT_NE(what.find("offset " + std::to_string(4096 + page) + " "), std::string::npos)
        << "byte " << at << " bit " << bit << ": " << what;
    EXPECT_NE(what.find(path.string()), std::string::npos);
    flip(4096 + at, bit);
  }
  EXPECT_EQ(checked.read(0_B, kSize), "");
  close(file);
}

// Cut in another way than it was written.
TEST(CheckedStorage, AnyRangeOfPagesMayBeReadAndRewritten) {
  Checked checked;
  for (int i = 0; i < 200; ++i) {
    const Bytes offset{static_cast<std::int64_t>(checked.random() % 200) * 4096};
    const Bytes size{static_cast<std::int64_t>(1 + checked.random() % 50) * 4096};
    EXPECT_EQ(checked.read(offset, size), "");
    if (i % 2 == 0) write_now(*checked.storage, offset, checked.bytes().first(count(size)));
  }
}

TEST(CheckedStorage, PagesNeverWrittenAreReadUnchecked) {
  const TemporaryFolder folder;
  const auto storage = open_storage({.folder = folder.path(), .size = kSize, .checksum = true});
  HostArena memory({.size = kSize});
  EXPECT_NO_THROW(read_now(*storage, 0_B, {memory.base(), count(kSize)}));
}

// 25 of each way to lose or change data; and each is struck, or the test could not fail.
TEST(CheckedStorage, LostMisdirectedAndFlippedTransfersAreAllSeen) {
  for (const NamedFailpoint& named :
       {kFailpoints[6], kFailpoints[7], kFailpoints[8], kFailpoints[9], kFailpoints[10]}) {
    for (unsigned seed = 0; seed < 25; ++seed) {
      // The first transfer of each direction fills the storage or is of no account.
      const FaultsInStorage faults({.point = named.point, .seed = seed, .first = 2});
      Checked checked;
      std::mt19937_64 random(seed);
      const Bytes offset{static_cast<std::int64_t>(random() % 192) * 4096};
      checked.read(0_B, 4_KiB);
      for (std::size_t i = 0; i < 65536; ++i) checked.memory.base()[i] ^= std::byte{0x5a};
      write_now(*checked.storage, offset, checked.bytes().first(65536));
      const std::string what = checked.read(offset, 64_KiB);
      EXPECT_NE(what.find("checksum"), std::string::npos) << named.name << ", seed " << seed;
      EXPECT_EQ(faults.counted().struck, 1) << named.name << ", seed " << seed;
    }
  }
}

TEST(CheckedStorage, ErrorsOfTheDrivePassThrough) {
  const FaultsInStorage faults({.point = Failpoint::kReadError, .first = 1});
  Checked checked;
  EXPECT_NE(checked.read(0_B, 4_KiB).find("planted"), std::string::npos);
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/host_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "devices/base/error.h"

namespace sluice {
namespace {

using namespace literals;

TEST(HostArena, IsAlignedZeroedAndWholePages) {
  HostArena arena({.size = 5000_B});
  EXPECT_EQ(arena.size(), 8_KiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.base()) % 4096, 0U);
  EXPECT_TRUE(std::all_of(arena.base(), arena.base() + count(arena.size()),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(HostArena, LastByteIsWritableWithAndWithoutHugePages) {
  for (const bool huge_pages : {false, true}) {
    HostArena arena({.size = 5_MiB + 4_KiB, .threads = 2, .huge_pages = huge_pages});
    EXPECT_EQ(arena.size(), 5_MiB + 4_KiB);
    arena.base()[count(arena.size()) - 1] = std::byte{7};
  }
}

TEST(HostArenaDeathTest, ByteBehindTheEndIsAFault) {
  HostArena arena({.size = 3_MiB});
  auto* behind = reinterpret_cast<volatile char*>(arena.base() + count(arena.size()));
  EXPECT_DEATH(*behind = 1, "");
}

TEST(HostArena, OfNothingIsEmpty) {
  HostArena arena({.size = 0_B});
  EXPECT_EQ(arena.size(), 0_B);
}

TEST(HostArena, LargerThanTheMachineSaysWhoLimits) {
  try {
    HostArena arena({.size = 1_GiB * 1024 * 1024, .purpose = "host memory"});
    FAIL() << "a pebibyte was found";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
    const std::string what = error.what();
    EXPECT_NE(what.find("host memory needs 1.0 PiB"), std::string::npos) << what;
    EXPECT_NE(what.find("--limits.host"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace sluice

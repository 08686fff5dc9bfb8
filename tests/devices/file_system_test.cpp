// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/file_system.h"

#include <gtest/gtest.h>

#include "devices/base/error.h"

namespace sluice {
namespace {

TEST(FileSystem, KnowsMemoryNetworkAndDrives) {
  EXPECT_EQ(file_system_by_magic(0x01021994).kind, FileSystemKind::kMemory);
  EXPECT_EQ(file_system_by_magic(0x858458f6).kind, FileSystemKind::kMemory);
  EXPECT_EQ(file_system_by_magic(0x6969).kind, FileSystemKind::kNetwork);
  EXPECT_EQ(file_system_by_magic(0x65735546).name, "FUSE");
  EXPECT_EQ(file_system_by_magic(0xff534d42).kind, FileSystemKind::kNetwork);
  EXPECT_EQ(file_system_by_magic(0xef53).kind, FileSystemKind::kLocal);
}

TEST(FileSystem, CallsAnUnknownOneByItsNumber) {
  EXPECT_EQ(file_system_by_magic(0x1234).name, "type 0x1234");
  EXPECT_EQ(file_system_by_magic(0x1234).kind, FileSystemKind::kLocal);
}

TEST(FileSystem, ProcIsNoDrive) {
  EXPECT_EQ(file_system_of("/proc").name, "proc");
  EXPECT_EQ(file_system_of("/proc").kind, FileSystemKind::kMemory);
}

TEST(FileSystem, MissingFolderIsAnError) {
  EXPECT_THROW(file_system_of("/nonexistent"), Error);
  EXPECT_THROW(free_space("/nonexistent"), Error);
}

TEST(FileSystem, HasFreeSpace) { EXPECT_GT(free_space("."), Bytes{0}); }

}  // namespace
}  // namespace sluice

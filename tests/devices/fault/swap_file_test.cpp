// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/swap_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

#include "devices/base/error.h"
#include "devices/storage.h"
#include "devices/storage/file_system.h"
#include "tests/devices/temporary_folder.h"

namespace sluice {
namespace {

using namespace literals;

// The error that opening `folder` gives, for tests that look at its text.
std::optional<Error> failure_of(const std::filesystem::path& folder, Bytes size) {
  try {
    SwapFile file(folder, size);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

void expect_failure(const std::filesystem::path& folder, Bytes size, ErrorKind kind,
                    const std::string& text) {
  const std::optional<Error> error = failure_of(folder, size);
  ASSERT_TRUE(error) << folder << " was taken";
  EXPECT_EQ(error->kind(), kind) << error->what();
  EXPECT_NE(std::string(error->what()).find(text), std::string::npos) << error->what();
  EXPECT_NE(std::string(error->what()).find("--limits.storage_path"), std::string::npos)
      << error->what();
}

TEST(SwapFile, IsReservedOnDiskAndGoneAfterwards) {
  const TemporaryFolder folder;
  {
    const SwapFile file(folder.path(), 3_MiB + 1_B);
    EXPECT_EQ(file.size(), 3_MiB + 4_KiB);
    struct stat status {};
    ASSERT_EQ(stat(file.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_size, file.size().value);
    EXPECT_GE(status.st_blocks * 512, file.size().value);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SwapFile, MissingFolderIsAnIoError) {
  expect_failure("/nonexistent/folder", 1_MiB, ErrorKind::kIo, "does not exist");
}

TEST(SwapFile, FileInsteadOfAFolderIsAnIoError) {
  const TemporaryFolder folder;
  folder.write("plain", "x");
  expect_failure(folder.path() / "plain", 1_MiB, ErrorKind::kIo, "not a folder");
}

TEST(SwapFile, FolderThatTakesNoFilesIsAnIoError) {
  expect_failure("/proc", 1_MiB, ErrorKind::kIo, "cannot create");
}

TEST(SwapFile, UnwritableFolderIsAnIoError) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder folder;
  std::filesystem::permissions(
      folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  expect_failure(folder.path(), 1_MiB, ErrorKind::kIo, "cannot create");
}

TEST(SwapFile, RefusesMemoryThatPosesAsADrive) {
  if (!std::filesystem::exists("/dev/shm") ||
      file_system_of("/dev/shm").kind != FileSystemKind::kMemory) {
    GTEST_SKIP() << "no tmpfs at /dev/shm";
  }
  expect_failure("/dev/shm", 1_MiB, ErrorKind::kIo, "tmpfs");
  EXPECT_FALSE(std::filesystem::exists("/dev/shm" / swap_file_name()));
}

TEST(SwapFile, InUseNamesTheProcessThatHoldsIt) {
  const TemporaryFolder folder;
  const SwapFile first(folder.path(), 1_MiB);
  expect_failure(folder.path(), 1_MiB, ErrorKind::kConfig,
                 "running process " + std::to_string(getpid()));
  EXPECT_TRUE(std::filesystem::exists(first.path())) << "the loser removed the winner's file";
}

TEST(SwapFile, StaleFileIsTakenOver) {
  const TemporaryFolder folder;
  folder.write(swap_file_name(), std::string(100'000, 'x'));
  testing::internal::CaptureStderr();
  const SwapFile file(folder.path(), 64_KiB);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("taking over"), std::string::npos);
  std::ifstream stream(file.path(), std::ios::binary);
  EXPECT_EQ(stream.get(), 0) << "old contents are trusted";
  EXPECT_EQ(std::filesystem::file_size(file.path()), 65536U);
}

TEST(SwapFile, DiskTooSmallSaysHowMuchIsFreeAndLeavesNothing) {
  const TemporaryFolder folder;
  expect_failure(folder.path(), 1_GiB * 1024 * 1024, ErrorKind::kNoFit, "free there");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SwapFile, IsNotFollowedThroughALink) {
  const TemporaryFolder folder;
  folder.write("precious", "data");
  std::filesystem::create_symlink(folder.path() / "precious", folder.path() / swap_file_name());
  expect_failure(folder.path(), 1_MiB, ErrorKind::kIo, "cannot create");
  EXPECT_EQ(std::filesystem::file_size(folder.path() / "precious"), 4U);
}

}  // namespace
}  // namespace sluice

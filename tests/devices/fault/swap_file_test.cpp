// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/swap_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "devices/base/error.h"
#include "devices/storage.h"
#include "devices/storage/file_system.h"
#include "devices/storage/stale_swap.h"
#include "tests/devices/temporary_folder.h"
#include "tests/support/bound_by_modes.h"

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
    EXPECT_EQ(status.st_size, (SwapFile::kData + file.size()).value);
    EXPECT_GE(status.st_blocks * 512, file.size().value);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SwapFile, WithoutItsNameItIsNobodyElses) {
  const TemporaryFolder folder;
  auto first = std::make_unique<SwapFile>(folder.path(), 1_MiB);
  first->drop_name();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const SwapFile second(folder.path(), 1_MiB);  // as if the first were not there
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(second.path()));
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
  expect_failure("/proc", 1_MiB, ErrorKind::kIo, "is on proc");
}

TEST(SwapFile, UnwritableFolderIsAnIoError) {
  const BoundByModes bound;
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

// What a process leaves that was killed while it held the folder's file.
std::filesystem::path leave_stale_file(const std::filesystem::path& folder) {
  const pid_t child = fork();
  if (child == 0) {
    const SwapFile file(folder, 1_MiB);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  return folder / swap_file_name();
}

TEST(SwapFile, StaleFileIsTakenOverAndItsDataForgotten) {
  const TemporaryFolder folder;
  const std::filesystem::path path = leave_stale_file(folder.path());
  {
    std::fstream old(path, std::ios::in | std::ios::out | std::ios::binary);
    old.seekp(5000);
    old << "old state";
  }
  testing::internal::CaptureStderr();
  const SwapFile file(folder.path(), 64_KiB);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("taking over"), std::string::npos);
  EXPECT_EQ(file.header().generation, 2);
  EXPECT_EQ(std::filesystem::file_size(path), 4096U + 65536U);
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(5000);
  EXPECT_EQ(stream.get(), 0) << "old contents are trusted";
}

TEST(SwapFile, WhatSluiceDidNotWriteIsNotTakenOver) {
  const TemporaryFolder folder;
  folder.write(swap_file_name(), std::string(100'000, 'x'));
  expect_failure(folder.path(), 64_KiB, ErrorKind::kConfig, "not written by sluice");
  remove_stale_swap_file(folder.path());
  EXPECT_EQ(std::filesystem::file_size(folder.path() / swap_file_name()), 100'000U);
}

TEST(SwapFile, HeaderSaysWhoseItIsAndAnyFlippedBitOfItIsSeen) {
  std::array<std::byte, SwapHeader::kSize> block;
  const SwapHeader header = new_swap_header(5);
  encode(header, block);
  const auto back = decode_swap_header(block);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->run_id, header.run_id);
  EXPECT_EQ(back->generation, 5);
  EXPECT_EQ(back->pid, getpid());
  EXPECT_NE(new_swap_header(5).run_id, header.run_id);
  for (std::size_t bit = 0; bit < 48 * 8; ++bit) {
    block[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_swap_header(block)) << "bit " << bit;
    block[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(StaleSwap, AreFoundNamedAndRemovedAndNothingElseIs) {
  using State = FoundSwapFile::State;
  const TemporaryFolder folder;
  const auto run = [&](const char* name) {
    std::filesystem::create_directories(folder.path() / "runs" / name);
    return folder.path() / "runs" / name;
  };
  const std::filesystem::path stale = leave_stale_file(run("a"));
  const SwapFile used(run("b"), 1_MiB);
  const std::filesystem::path foreign = run("c") / swap_file_name();
  std::ofstream(foreign) << "precious";
  const std::filesystem::path link = run("d") / swap_file_name();
  std::filesystem::create_symlink(stale, link);
  const std::filesystem::path other_name = run("e") / "my.swap";
  std::ofstream(other_name) << "precious";

  const std::filesystem::path torn = leave_stale_file(run("f"));
  std::fstream(torn, std::ios::in | std::ios::out).seekp(20) << "torn";

  auto found = find_swap_files(folder.path());
  ASSERT_EQ(found.size(), 5U);
  EXPECT_EQ(found[0].path, stale);
  EXPECT_EQ(found[0].state, State::kStale);
  EXPECT_GE(found[0].on_disk, 1_MiB);
  ASSERT_TRUE(found[0].header);
  EXPECT_NE(describe(found[0]).find(std::to_string(found[0].header->pid)), std::string::npos);
  EXPECT_EQ(found[1].state, State::kInUse);
  EXPECT_EQ(found[1].holder, getpid());
  EXPECT_EQ(found[2].state, State::kNotOurs);
  EXPECT_EQ(found[3].state, State::kNoAccess);
  EXPECT_EQ(found[4].path, torn);
  EXPECT_EQ(found[4].state, State::kStale);
  EXPECT_FALSE(found[4].header);

  int removed = 0;
  for (FoundSwapFile& file : found) removed += remove_swap_file(file) ? 1 : 0;
  EXPECT_EQ(removed, 2);
  EXPECT_FALSE(std::filesystem::exists(stale) || std::filesystem::exists(torn));
  for (const auto& path : {used.path(), foreign, other_name}) {
    EXPECT_TRUE(std::filesystem::exists(path)) << path;
  }
  EXPECT_TRUE(std::filesystem::is_symlink(link));
}

TEST(StaleSwap, OneThatARunTookMeanwhileIsNotRemoved) {
  const TemporaryFolder folder;
  leave_stale_file(folder.path());
  auto found = find_swap_files(folder.path());
  ASSERT_EQ(found.size(), 1U);
  const SwapFile taken(folder.path(), 1_MiB);
  EXPECT_FALSE(remove_swap_file(found[0]));
  EXPECT_TRUE(std::filesystem::exists(taken.path()));
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

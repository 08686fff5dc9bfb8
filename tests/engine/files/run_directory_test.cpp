// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/run_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

using Names = std::vector<std::string>;

TEST(RunDirectory, StaysOnceTheRunBegins) {
  const ScratchFolder folder;
  {
    RunDirectory run(folder / "runs/a", RunMode::kFresh);
    run.keep();
    EXPECT_TRUE(std::filesystem::exists(folder / "runs/a/.sluice-lock"));
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "runs/a"));
  EXPECT_FALSE(std::filesystem::exists(folder / "runs/a/.sluice-lock"));
}

TEST(RunDirectory, LeavesNothingOfARunThatNeverBegan) {
  const ScratchFolder folder;
  { const RunDirectory run(folder / "runs/deep/a", RunMode::kFresh); }
  EXPECT_EQ(folder.names(), Names{});
  std::filesystem::create_directory(folder / "mine");
  { const RunDirectory run(folder / "mine", RunMode::kFresh); }
  EXPECT_EQ(folder.names(), Names{"mine"});
}

TEST(RunDirectory, RefusesAFolderThatHoldsARun) {
  const ScratchFolder folder;
  folder.write("a/metrics.jsonl", "{}\n");
  expect_error(ErrorKind::kConfig, {"/a", "--run-dir", "--overwrite"},
               [&] { RunDirectory(folder / "a", RunMode::kFresh); });
  EXPECT_FALSE(std::filesystem::exists(folder / "a/.sluice-lock"));
  EXPECT_TRUE(std::filesystem::exists(folder / "a/metrics.jsonl"));
}

TEST(RunDirectory, ResumesARunAndSaysWhereThereIsNone) {
  const ScratchFolder folder;
  folder.write("a/config.toml", "x");
  RunDirectory run(folder / "a", RunMode::kResume);
  EXPECT_TRUE(run.resumes());
  run.keep();
  EXPECT_EQ(text_of(run.config()), "x");
  EXPECT_FALSE(RunDirectory(folder / "b", RunMode::kResume).resumes());
}

TEST(RunDirectory, OverwritesOnlyARunsOwnFilesAndOnlyWhenTheNewOneBegins) {
  const ScratchFolder folder;
  folder.write("a/config.toml", "old");
  folder.write("a/model/config.json", "old");
  folder.write("a/notes.txt", "mine");
  folder.write("a/lock", "mine");
  { const RunDirectory run(folder / "a", RunMode::kOverwrite); }
  EXPECT_EQ(text_of(folder / "a/config.toml"), "old");
  RunDirectory run(folder / "a", RunMode::kOverwrite);
  run.keep();
  EXPECT_FALSE(std::filesystem::exists(run.config()));
  EXPECT_EQ(text_of(folder / "a/notes.txt"), "mine");
  EXPECT_EQ(text_of(folder / "a/lock"), "mine");
  // The old model stays until the new one takes its place.
  EXPECT_EQ(text_of(folder / "a/model/config.json"), "old");
}

TEST(RunDirectory, BelongsToOneProcessAndNamesIt) {
  const ScratchFolder folder;
  const RunDirectory run(folder / "a", RunMode::kFresh);
  expect_error(ErrorKind::kConfig, {"/a", "in use by process " + std::to_string(::getpid())},
               [&] { RunDirectory(folder / "a", RunMode::kOverwrite); });
  EXPECT_TRUE(std::filesystem::exists(folder / "a/.sluice-lock"));
}

TEST(RunDirectory, ADeadProcessHoldsNothing) {
  const ScratchFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const RunDirectory run(folder / "a", RunMode::kFresh);
    ::_exit(0);  // as a kill would: no destructor runs
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(std::filesystem::exists(folder / "a/.sluice-lock"));
  EXPECT_NO_THROW(RunDirectory(folder / "a", RunMode::kFresh));
}

TEST(RunDirectory, LocksThroughNoLinkAndWaitsForNoFifo) {
  const ScratchFolder folder;
  folder.write("victim", "mine");
  std::filesystem::create_directory(folder / "a");
  std::filesystem::create_symlink("../victim", folder / "a/.sluice-lock");
  const auto refused = [&] {
    expect_error(ErrorKind::kIo, {"a/.sluice-lock", "is a link or no regular file"},
                 [&] { RunDirectory(folder / "a", RunMode::kFresh); });
  };
  refused();
  EXPECT_EQ(text_of(folder / "victim"), "mine");
  std::filesystem::remove(folder / "a/.sluice-lock");
  ASSERT_EQ(::mkfifo((folder / "a/.sluice-lock").c_str(), 0600), 0);
  refused();
}

TEST(RunDirectory, AnswersEachRequestOnce) {
  const ScratchFolder folder;
  RunDirectory run(folder / "a", RunMode::kFresh);
  EXPECT_FALSE(run.take_save_request());
  folder.write("a/SAVE", "");
  folder.write("a/STOP", "");
  EXPECT_TRUE(run.take_save_request());
  EXPECT_FALSE(run.take_save_request());
  EXPECT_TRUE(run.take_stop_request());
  EXPECT_FALSE(run.take_stop_request());
}

TEST(RunDirectory, APlaceThatCannotBeAFolderIsAnIoError) {
  const ScratchFolder folder;
  folder.write("file", "");
  expect_error(ErrorKind::kIo, {"file/a", "--run-dir"},
               [&] { RunDirectory(folder / "file/a", RunMode::kFresh); });
  EXPECT_EQ(folder.names(), Names{"file"});
}

TEST(RunDirectory, OneThatEveryUserMayWriteToIsRefused) {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "run");
  std::filesystem::permissions(folder / "run", std::filesystem::perms::all);
  expect_error(ErrorKind::kConfig, {"chmod o-w"},
               [&] { const RunDirectory run(folder / "run", RunMode::kFresh); });
  EXPECT_TRUE(folder.names() == std::vector<std::string>{"run"});
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Checkpoints on file systems that are really full: of bytes, or of inodes. They are mounted in
// a mount namespace of the test's own, so nothing is left of them.

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>

#include "devices/storage/file_system.h"
#include "engine/files/model_folder.h"
#include "tests/engine/fault/killed_run.h"
#include "tests/support/mounted_disk.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr int kInodes = 60;

// Nothing of ext4 is kept for root, which the test is.
MountedDisk::Kind small_disk(const std::string& kind) {
  if (kind == "ext4") return {.name = kind, .options = "-m 0"};
  return {.name = kind, .options = fmt::format("size=64m,mode=755,nr_inodes={}", kInodes)};
}

// 64 MiB that a test fills.
class Disk : public MountedDisk {
 public:
  Disk(const std::string& kind, const fs::path& point) : MountedDisk(small_disk(kind), point) {}

  Bytes free() const { return free_space(point()); }

  // Leaves less than `room` and a block.
  void fill(Bytes room) const {
    const int file = ::open(ballast().c_str(), O_WRONLY | O_CREAT, 0600);
    off_t end = 0;
    for (off_t block = 1 << 20; block >= 4096; block /= 2) {
      while (free().value > room.value && ::fallocate(file, 0, end, block) == 0) end += block;
    }
    ::close(file);
  }
  // Leaves `count` inodes.
  void use_up_inodes(int count) const {
    fs::create_directory(ballast());
    int made = 0;
    while (std::ofstream(ballast() / std::to_string(made))) ++made;
    while (count-- > 0) fs::remove(ballast() / std::to_string(--made));
  }
  void make_room() const { fs::remove_all(ballast()); }

 private:
  fs::path ballast() const { return point() / "ballast"; }
};

// A run with a checkpoint of step 2, whose checkpoints lie on a disk of their own.
class FullDisk : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!disk_.missing().empty()) GTEST_SKIP() << disk_.missing();
    ASSERT_EQ(run_.train(true, {{"train.steps", "2"}}), 0);
    before_ = disk_.free();
    others_ = run_.leftovers();
  }

  // To step 6 on the full disk: every save fails, and the run with its last one, in one line.
  void expect_that_the_run_ends_without_its_checkpoints(const std::string& why) const {
    const Bytes before = disk_.free();
    expect_error(ErrorKind::kIo, {run_.checkpoints().string(), why}, [&] { run_.train(true); });
    EXPECT_EQ(run_.digests(), expected_);
    EXPECT_EQ(run_.whole_checkpoints(), std::vector<std::int64_t>{2});
    EXPECT_TRUE(fs::exists(run_.run_dir() / "model/model.safetensors"));
    expect_nothing_unfinished();
    EXPECT_NEAR(static_cast<double>(disk_.free().value), static_cast<double>(before.value), 65536);
  }

  void expect_nothing_unfinished() const {
    for (const std::string& name : run_.leftovers()) {
      EXPECT_EQ(name.find(".tmp-"), std::string::npos) << name;
    }
  }

  void expect_that_with_room_the_run_ends_as_if_nothing_had_been() const {
    disk_.make_room();
    EXPECT_NEAR(static_cast<double>(disk_.free().value), static_cast<double>(before_.value),
                1 << 20);
    EXPECT_EQ(run_.train(true), 0);
    EXPECT_EQ(run_.digests(), expected_);
    EXPECT_EQ(run_.whole_checkpoints().front(), 6);
    EXPECT_EQ(run_.leftovers(), others_);
  }

  KilledRun run_{6, 2};
  Disk disk_{GetParam(), run_.checkpoints()};
  std::map<int, std::string> expected_ = undisturbed(6, 2);
  Bytes before_;                     // free with the first checkpoint
  std::vector<std::string> others_;  // of ext4: lost+found
};
INSTANTIATE_TEST_SUITE_P(FileSystems, FullDisk, testing::Values("tmpfs", "ext4"));

TEST_P(FullDisk, WithoutRoomTheOlderCheckpointStaysAndTheRunSaysWhatIsMissing) {
  disk_.fill(Bytes{20'000});
  expect_that_the_run_ends_without_its_checkpoints("a checkpoint takes ");
  expect_that_with_room_the_run_ends_as_if_nothing_had_been();
}

// Somebody else takes what is free once a save has begun, before one of its calls.
TEST_P(FullDisk, FilledUpInTheMiddleOfASaveTheOlderCheckpointStays) {
  class FillsUp final : public FileFaults {
   public:
    FillsUp(const Disk& disk, int at) : disk_(disk), at_(at) {}
    Outcome before(FileCall call, const fs::path& path) override {
      const bool counts = changes_files(call) && path.string().find(".tmp-") != std::string::npos;
      if (counts && ++count_ == at_) disk_.fill({});
      return {};
    }
    int count() const { return count_; }

   private:
    const Disk& disk_;
    int at_;
    std::atomic<int> count_{0};
  };
  // Folder; three times open, reserve, header; then what has no room reserved.
  int failed = 0;
  for (int at = 1; at <= 9; ++at) {
    SCOPED_TRACE("before call " + std::to_string(at));
    fs::remove_all(run_.checkpoints() / "step-4");
    fs::remove_all(run_.checkpoints() / "step-6");
    FillsUp faults(disk_, at);
    const WithFileFaults planted(faults);
    try {
      EXPECT_EQ(run_.train(true), 0);  // all of it fitted in what was reserved
    } catch (const Error& error) {
      ++failed;
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
      EXPECT_NE(std::string(error.what()).find("are free there"), std::string::npos)
          << error.what();
      EXPECT_LT(run_.whole_checkpoints().front(), 6);
    }
    EXPECT_GE(faults.count(), at);
    EXPECT_EQ(run_.digests(), expected_);
    EXPECT_EQ(run_.whole_checkpoints().back(), 2);
    expect_nothing_unfinished();
    disk_.make_room();
  }
  EXPECT_GT(failed, 2);
  expect_that_with_room_the_run_ends_as_if_nothing_had_been();
}

TEST_P(FullDisk, WithoutRoomTheOlderModelFolderStays) {
  const fs::path target = run_.checkpoints() / "model";
  const std::vector<float> numbers(100'000);
  const auto write = [&] {
    ModelFolderWriter writer(target, ModelShape{}, DType::kFloat32,
                             {{"w", DType::kFloat32, {100'000}}});
    writer.write(std::as_bytes(std::span(numbers)));
    writer.finish();
  };
  write();
  disk_.fill(Bytes{200'000});
  expect_error(ErrorKind::kIo, {target.parent_path().string(), "are free there"}, write);
  std::vector<float> read(numbers.size(), 1);
  ModelFolderReader(target).read("w", {100'000}, read);
  EXPECT_EQ(read, numbers);
  EXPECT_FALSE(fs::exists(run_.checkpoints() / ".model.partial"));
}

// The whole run on one disk, which somebody else fills up before a line of metrics.jsonl is
// written, and empties again, or not, before a later one.
class FullRunDisk : public testing::TestWithParam<const char*>, private FileFaults {
 protected:
  static constexpr int kSteps = 40, kEvery = 10;
  // More than the last block of the file has room for.
  static constexpr int kLines = 25;

  void SetUp() override {
    if (!disk_.missing().empty()) GTEST_SKIP() << disk_.missing();
    ASSERT_EQ(run_.train(true, {{"train.steps", "10"}}), 0);
  }

  int train_on_a_full_disk(int lines_until_there_is_room) {
    until_ = lines_until_there_is_room;
    const WithFileFaults planted(*this);
    return run_.train(true);
  }

  KilledRun run_{kSteps, kEvery};
  Disk disk_{GetParam(), run_.run_dir()};
  std::map<int, std::string> expected_ = undisturbed(kSteps, kEvery);
  std::size_t in_the_file_ = 0;  // steps, when there was room again

 private:
  Outcome before(FileCall call, const fs::path& path) override {
    if (call != FileCall::kWrite || path.filename() != "metrics.jsonl") return {};
    if (++lines_ == 1) disk_.fill({});
    if (lines_ == until_) {
      in_the_file_ = run_.digests().size();
      disk_.make_room();
    }
    return {};
  }

  int lines_ = 0, until_ = 0;
};
INSTANTIATE_TEST_SUITE_P(FileSystems, FullRunDisk, testing::Values("tmpfs", "ext4"));

TEST_P(FullRunDisk, TrainingGoesOnAndItsLinesAreThereWhenThereIsRoomAgain) {
  EXPECT_EQ(train_on_a_full_disk(kLines), 0);
  EXPECT_LT(in_the_file_, 10U + kLines / 2);
  EXPECT_EQ(run_.digests(), expected_);
  EXPECT_EQ(run_.whole_checkpoints().front(), kSteps);
}

TEST_P(FullRunDisk, WithoutRoomAtTheEndTheRunSaysWhatIsMissingAndGoesOnLater) {
  expect_error(ErrorKind::kIo, {run_.run_dir().string(), " takes ", "are free there"},
               [&] { train_on_a_full_disk(kSteps * 10); });
  EXPECT_EQ(run_.whole_checkpoints(), std::vector<std::int64_t>{10});
  disk_.make_room();
  EXPECT_EQ(run_.train(true), 0);
  EXPECT_EQ(run_.digests(), expected_);
  EXPECT_EQ(run_.whole_checkpoints().front(), kSteps);
}

using FullOfFiles = FullDisk;
INSTANTIATE_TEST_SUITE_P(FileSystems, FullOfFiles, testing::Values("tmpfs"));

TEST_P(FullOfFiles, WithoutInodesTheOlderCheckpointStaysAndTheRunSaysSo) {
  for (int left = 0; left <= 4; ++left) {  // a checkpoint is a folder with six files
    SCOPED_TRACE(std::to_string(left) + " inodes left");
    disk_.use_up_inodes(left);
    expect_that_the_run_ends_without_its_checkpoints("inodes");
    disk_.make_room();
  }
  expect_that_with_room_the_run_ends_as_if_nothing_had_been();
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What a GPU can do to a run, before it and in the middle of it: one line, the exit code of its
// kind, nothing kept of the device, and the model that was saved before as it was.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/engine/fault/fake_gpu.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

class DeviceFault : public ::testing::Test {
 protected:
  // All three tiers, and 32 MiB of scratch for the queue that computes; a checkpoint at step 2.
  TrainResult train_on(const Devices& devices, std::vector<ConfigFlag> flags,
                       TrainOptions options) const {
    flags.insert(flags.begin(), {{"place.weights", "host"},
                                 {"place.optimizer", "storage"},
                                 {"place.adam", "host"},
                                 {"schedule.kind", "constant"},
                                 {"checkpoint.every", "2"},
                                 {"log.digest", "true"}});
    options.devices = devices;
    return scratch_.train(flags, options);
  }

  TrainResult train(std::vector<ConfigFlag> flags = {}, TrainOptions options = {}) const {
    return train_on(fake_gpus(), std::move(flags), std::move(options));
  }

  void expect_refused(ErrorKind kind, const std::string& because) {
    expect_error(kind, {because}, [&] { train(); });
    EXPECT_EQ(fake_.alive(), 0);
    EXPECT_FALSE(scratch_.exists("run/model"));
  }

  // Bytes of every file of a folder of the run, by path.
  std::map<std::string, std::string> files(const std::string& folder) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(scratch_ / folder)) {
      if (entry.is_regular_file()) found[entry.path().string()] = text_of(entry.path());
    }
    return found;
  }

  // One for each step, in the order of metrics.jsonl.
  std::vector<std::string> digests() const {
    static constexpr std::string_view kKey = "\"digest\":\"";
    std::vector<std::string> found;
    for (const std::string& line : scratch_.metrics(std::string(kKey))) {
      found.push_back(line.substr(line.find(kKey) + kKey.size(), 16));
    }
    return found;
  }

  // A run that goes on from step 4 with the fault, and writes no checkpoint before it comes.
  void expect_broken_run(const std::string& because) {
    const auto model = files("run/model");
    const auto checkpoints = files("run/checkpoints");
    ASSERT_FALSE(model.empty());
    ASSERT_FALSE(checkpoints.empty());
    expect_error(ErrorKind::kInternal, {because, "saved state is intact"}, [&] {
      train({{"train.steps", "50"}, {"checkpoint.every", "1000"}}, {.resume = true});
    });
    EXPECT_EQ(fake_.alive(), 0);
    EXPECT_TRUE(files("run/model") == model);  // bytes: nothing to print
    EXPECT_TRUE(files("run/checkpoints") == checkpoints);
  }

  FakeCuda fake_;
  RunScratch scratch_;
};

// The fake computes with the host's kernels, so its bits are the host's: a copy that is late,
// short or out of order would show.
TEST_F(DeviceFault, WithoutAFaultItTrainsAsTheHostDoes) {
  EXPECT_EQ(train().steps, 4);
  EXPECT_EQ(fake_.alive(), 0);
  const std::vector<std::string> on_gpu = digests();
  EXPECT_EQ(on_gpu.size(), 4U);
  const auto model = files("run/model");
  train_on({}, {}, {.overwrite = true});
  EXPECT_TRUE(files("run/model") == model);
  EXPECT_EQ(digests(), on_gpu);
}

TEST_F(DeviceFault, ACheckpointGoesOnOnTheOtherDeviceWithTheSameDigests) {
  train_on({}, {}, {});
  const std::vector<std::string> on_host = digests();
  for (const auto& [first, then] : {std::pair{fake_gpus(), Devices{}}, {Devices{}, fake_gpus()}}) {
    train_on(first, {{"train.steps", "2"}}, {.overwrite = true});
    EXPECT_EQ(train_on(then, {}, {.resume = true}).steps, 4);
    EXPECT_EQ(digests(), on_host);
    EXPECT_EQ(fake_.alive(), 0);
  }
}

TEST_F(DeviceFault, NoDriver) {
  fake_.driver_version = 0;
  fake_.fail("device_count", kCudaDriverTooOld);
  expect_refused(ErrorKind::kConfig, "there is no NVIDIA driver");
}

TEST_F(DeviceFault, DriverTooOld) {
  fake_.driver_version = 12020;
  fake_.fail("device_count", kCudaDriverTooOld);
  expect_refused(ErrorKind::kConfig, "made for CUDA 12.2, this build for 13.0");
}

TEST_F(DeviceFault, UnsupportedArchitecture) {
  fake_.devices[0].major = 7;
  expect_refused(ErrorKind::kConfig, "no kernels for this GPU (built for 90a)");
}

TEST_F(DeviceFault, BusyBeforeTheStart) {
  fake_.fail("set_device", kCudaBusy);
  expect_refused(ErrorKind::kConfig, "the GPU is busy");
}

TEST_F(DeviceFault, FullBeforeTheStart) {
  fake_.free_bytes = std::size_t{520} << 20;  // 8 MiB above the reserve
  expect_refused(ErrorKind::kNoFit, "limits.device");
}

TEST_F(DeviceFault, FilledBySomebodyElseAfterThePlan) {
  fake_.fail("allocate", kCudaNoMemory);
  expect_refused(ErrorKind::kNoFit, "end what else runs there, or lower --limits.device");
}

TEST_F(DeviceFault, PinningRefusedTrainsOnWithTheSameBits) {
  train();
  const auto pinned = files("run/model");
  fake_.fail("pin", kCudaNotPermitted);
  testing::internal::CaptureStderr();
  EXPECT_EQ(train({}, {.overwrite = true}).steps, 4);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(files("run/model") == pinned);
  const std::size_t line = said.find("could be pinned");
  EXPECT_NE(line, std::string::npos);
  EXPECT_EQ(said.find("could be pinned", line + 1), std::string::npos);
  EXPECT_EQ(fake_.alive(), 0);
}

TEST_F(DeviceFault, ALaunchThatFailsInAStep) {
  train();
  fake_.fail("launch", kCudaLaunchFailure, 500);
  expect_broken_run("a kernel failed on the GPU");
}

TEST_F(DeviceFault, ALaunchThatFailsInARunThatReplacesAnotherLeavesThatOnesModel) {
  train();
  const auto model = files("run/model");
  fake_.fail("launch", kCudaLaunchFailure, 500);
  expect_error(ErrorKind::kInternal, {"a kernel failed on the GPU"}, [&] {
    train({{"train.steps", "50"}}, {.overwrite = true});
  });
  EXPECT_TRUE(files("run/model") == model);
}

TEST_F(DeviceFault, AnUncorrectableMemoryErrorStaysAndEndsTheRun) {
  train();
  fake_.break_at("launch", kCudaEcc, 500);
  expect_broken_run("uncorrectable memory error (ECC)");
}

TEST_F(DeviceFault, AGpuThatIsLostInACopyOrAWait) {
  train();
  for (const char* call : {"copy", "synchronize_event", "record"}) {
    // How many waits there are depends on who comes first; 60 are over within a few steps.
    fake_.break_at(call, kCudaNoDevice, 60);
    expect_broken_run("the GPU does not answer any more");
    fake_.mend();
  }
}

}  // namespace
}  // namespace sluice

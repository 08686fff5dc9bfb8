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
  // All three tiers, and 32 MiB of scratch for the queue that computes.
  TrainResult train(std::vector<ConfigFlag> flags = {}, bool overwrite = false) const {
    flags.insert(flags.begin(), {{"place.weights", "host"},
                                 {"place.optimizer", "storage"},
                                 {"place.adam", "host"},
                                 {"log.digest", "true"}});
    return scratch_.train(flags, {.overwrite = overwrite, .devices = fake_gpus()});
  }

  void expect_refused(ErrorKind kind, const std::string& because) {
    expect_error(kind, {because}, [&] { train(); });
    EXPECT_EQ(fake_.alive(), 0);
    EXPECT_FALSE(scratch_.exists("run/model"));
  }

  // Bytes of every file of the saved model.
  std::map<std::string, std::string> model() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_ / "run/model")) {
      files[entry.path().filename().string()] = text_of(entry.path());
    }
    return files;
  }

  void expect_broken_run(const std::string& because) {
    const std::map<std::string, std::string> before = model();
    ASSERT_FALSE(before.empty());
    expect_error(ErrorKind::kInternal, {because, "saved state is intact"}, [&] {
      train({{"train.steps", "50"}}, /*overwrite=*/true);
    });
    EXPECT_EQ(fake_.alive(), 0);
    EXPECT_TRUE(model() == before);  // bytes: nothing to print
  }

  FakeCuda fake_;
  RunScratch scratch_;
};

// The fake computes with the host's kernels, so its bits are the host's: a copy that is late,
// short or out of order would show.
TEST_F(DeviceFault, WithoutAFaultItTrainsAsTheHostDoes) {
  EXPECT_EQ(train().steps, 4);
  EXPECT_EQ(fake_.alive(), 0);
  const std::vector<std::string> digests = scratch_.metrics("digest");
  const auto on_gpu = model();
  scratch_.train({{"place.weights", "host"},
                  {"place.optimizer", "storage"},
                  {"place.adam", "host"},
                  {"log.digest", "true"},
                  {"limits.accelerator", "host"}},
                 {.overwrite = true});
  EXPECT_TRUE(model() == on_gpu);
  EXPECT_EQ(scratch_.metrics("digest").size(), digests.size());
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
  const auto pinned = model();
  fake_.fail("pin", kCudaNotPermitted);
  testing::internal::CaptureStderr();
  EXPECT_EQ(train({}, /*overwrite=*/true).steps, 4);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(model() == pinned);
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

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "devices/cuda/cuda.h"
#include "tests/devices/cuda/fake_cuda.h"
#include "tests/devices/temporary_folder.h"

namespace sluice {
namespace {

using testing::HasSubstr;

TEST(CudaDevice, IsTheFirstOrTheOneAtABusId) {
  FakeCuda fake;
  fake.add_device("0000:65:00.0");
  EXPECT_EQ(choose_cuda_device(fake.api(), "").index, 0);
  EXPECT_EQ(choose_cuda_device(fake.api(), "65:00.0").index, 1);
  const Error error = error_of([&] { choose_cuda_device(fake.api(), "0000:01:00.0"); });
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("the driver shows 0000:17:00.0, 0000:65:00.0"));
}

TEST(CudaDevice, IsDescribedForPeople) {
  const FakeCuda fake;
  EXPECT_EQ(describe(choose_cuda_device(fake.api(), "")),
            "Fake H200, 0000:17:00.0, 8.0 GiB, compute capability 9.0");
}

TEST(CudaDevice, IsChosenByNumberOrAsTheFirstThatThisBuildRunsOn) {
  FakeCuda fake;
  fake.add_device("0000:65:00.0");
  EXPECT_EQ(choose_cuda_device(fake.api(), "1").bus_id, "0000:65:00.0");
  EXPECT_EQ(choose_cuda_device(fake.api(), "").bus_id, "0000:17:00.0");
  fake.devices[0].major = 7;
  EXPECT_EQ(choose_cuda_device(fake.api(), "").bus_id, "0000:65:00.0");
  const Error error = error_of([&] { choose_cuda_device(fake.api(), "2"); });
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("no GPU 2: the driver shows 0000:17:00.0, 0000:65:00.0"));
}

TEST(CudaDevice, OfAnotherArchitectureIsRefused) {
  FakeCuda fake;
  fake.devices[0].major = 7;
  const Error error = error_of([&] { choose_cuda_device(fake.api(), ""); });
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("compute capability 7.0: this build has no kernels"));
}

TEST(CudaDevice, ThatIsNotThereSaysWhy) {
  FakeCuda fake;
  fake.devices.clear();
  EXPECT_THAT(error_of([&] { cuda_devices(fake.api()); }).what(), HasSubstr("sees no GPU"));
  fake.fail("device_count", kCudaDriverTooOld);
  fake.driver_version = 0;
  EXPECT_THAT(error_of([&] { cuda_devices(fake.api()); }).what(), HasSubstr("no NVIDIA driver"));
}

TEST(CudaDevice, RunsCodeAsNvidiaPromises) {
  EXPECT_TRUE(runs_on("90a", 9, 0));
  EXPECT_FALSE(runs_on("90a", 9, 1));
  EXPECT_FALSE(runs_on("90a", 10, 0));
  EXPECT_TRUE(runs_on("80,90a", 8, 9));
  EXPECT_TRUE(runs_on("80;90a;100", 12, 0));    // 100 holds PTX
  EXPECT_FALSE(runs_on("80-real;90a", 10, 0));  // only machine code
  EXPECT_TRUE(runs_on("80-real", 8, 6));
  EXPECT_FALSE(runs_on("89", 8, 0));
  EXPECT_TRUE(runs_on("100f", 10, 3));
  EXPECT_FALSE(runs_on("100f", 12, 0));
  EXPECT_TRUE(runs_on("90-virtual", 9, 0));
  EXPECT_TRUE(runs_on("90-virtual", 10, 0));
  EXPECT_TRUE(runs_on("all-major", 9, 0));
  EXPECT_FALSE(runs_on("", 9, 0));
}

TEST(CudaDevice, LiesNextToTheNodeThatSysfsNames) {
  const TemporaryFolder root;
  const auto folder = root.path() / "sys/bus/pci/devices/0000:ab:00.0";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "numa_node") << "1\n";
  EXPECT_EQ(numa_node_of("0000:AB:00.0", root.path()), 1);
  EXPECT_EQ(numa_node_of("0000:00:00.0", root.path()), -1);
}

// Whatever this build and machine are, the answer is lines and no crash.
TEST(CudaDeviceSummary, IsNeverEmpty) {
  const std::vector<std::string> lines = cuda_device_summary();
  ASSERT_FALSE(lines.empty());
  for (const std::string& line : lines) EXPECT_FALSE(line.empty());
}

}  // namespace
}  // namespace sluice

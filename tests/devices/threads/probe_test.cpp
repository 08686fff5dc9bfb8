// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/probe/probe.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "devices/base/error.h"
#include "devices/registry.h"
#include "tests/devices/temporary_folder.h"

namespace sluice {
namespace {

using namespace literals;

TEST(Probe, MeasuresMemory) {
  Workers workers(2);
  EXPECT_GT(measure_memory_update(workers, 24_MiB, /*quick=*/true).value, 0);
}

TEST(Probe, MeasuresStorageWithinItsShareAndCleansUp) {
  const TemporaryFolder folder;
  const StorageRates rates = measure_storage(folder.path(), 8_MiB, /*quick=*/true);
  EXPECT_GT(rates.read.value, 0);
  EXPECT_GT(rates.write.value, 0);
  EXPECT_GT(rates.latency.count(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Probe, StorageFolderThatIsMissingIsAnError) {
  EXPECT_THROW(measure_storage("/nonexistent", 8_MiB, /*quick=*/true), Error);
}

TEST(Probe, FindsNoMoreThanThePaceOfASimulatedLink) {
  const auto device = make_accelerator("host", {.host_to_device = {.rate = {200e6}},
                                                .device_to_host = {.rate = {400e6}},
                                                .capacity = 4_MiB});
  const LinkRates rates = measure_links(*device, /*quick=*/true);
  EXPECT_LE(rates.host_to_device.value, 200e6);
  EXPECT_LE(rates.device_to_host.value, 400e6);
  EXPECT_GT(rates.host_to_device.value, 0);
  EXPECT_GE(rates.duplex_factor, 0.5);
}

TEST(Probe, CopiesAreMeasuredBySizeUpToWhatTheDeviceHolds) {
  const auto device = make_accelerator("host", {.capacity = 4_MiB});
  for (const bool pinned : {true, false}) {
    const std::vector<CopyPoint> points = measure_copies(*device, pinned, /*quick=*/true);
    ASSERT_EQ(points.size(), 3U);
    EXPECT_EQ(points.front().size, 64_KiB);
    EXPECT_EQ(points.back().size, 1_MiB);  // both ends of both directions fit
    for (const CopyPoint& point : points) {
      EXPECT_GT(point.host_to_device.value, 0);
      EXPECT_GT(point.device_to_host.value, 0);
      EXPECT_GE(point.duplex_factor, 0.5);
      EXPECT_LE(point.duplex_factor, 1.0);
    }
  }
}

TEST(Probe, WorkBesideCopiesIsTimedWhileTheyRun) {
  const auto device = make_accelerator("host", {.capacity = 4_MiB});
  const LinkRates links = measure_links(*device, /*quick=*/true);
  bool ran = false;
  const Seconds taken = measure_beside_copies(*device, links, Seconds{0.02}, [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ran = true;
  });
  EXPECT_TRUE(ran);
  EXPECT_GE(taken, Seconds{0.01});
}

}  // namespace
}  // namespace sluice

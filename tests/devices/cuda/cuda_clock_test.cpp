// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_clock.h"

#include <gtest/gtest.h>

#include "tests/devices/cuda/fake_cuda.h"

namespace sluice {
namespace {

class CudaClockTest : public testing::Test {
 protected:
  // When `event` is recorded now, by the clock; its bounds by the host.
  struct Reading {
    Seconds before, told, after;
  };
  Reading read() {
    Reading reading{};
    reading.before = steady_seconds();
    FakeCuda::api().record(event_.get(), stream_.get());
    reading.after = steady_seconds();
    reading.told = clock_.time_of(event_.get());
    return reading;
  }

  FakeCuda fake_;
  CudaContext context_{FakeCuda::api(), 0};
  CudaClock clock_{context_};
  CudaStream stream_ = make_stream(context_);
  CudaEvent event_ = make_event(context_, CudaEventUse::kTime);
};

constexpr Seconds kBusyMachine{50e-3};

TEST_F(CudaClockTest, TellsTheHostsTime) {
  const Reading reading = read();
  EXPECT_GT(reading.told, reading.before - kBusyMachine);
  EXPECT_LT(reading.told, reading.after + kBusyMachine);
}

TEST_F(CudaClockTest, OfBeforeTheAnchorToo) {
  fake_.ahead = Seconds{-0.5};
  const Reading reading = read();
  EXPECT_GT(reading.told, reading.before - Seconds{0.5} - kBusyMachine);
  EXPECT_LT(reading.told, reading.after - Seconds{0.5} + kBusyMachine);
}

// Far from the anchor the host's clock is asked again: drift does not add up.
TEST_F(CudaClockTest, FollowsTheHostsClockWhereTheDevicesRunsAway) {
  for (int seconds = 10; seconds <= 100; seconds += 10) {
    fake_.ahead = Seconds{static_cast<double>(seconds)};
    const Reading reading = read();
    EXPECT_GT(reading.told, reading.before - kBusyMachine);
    EXPECT_LT(reading.told, reading.after + kBusyMachine);
  }
}

TEST_F(CudaClockTest, SaysWhenTheDeviceIsGone) {
  FakeCuda::api().record(event_.get(), stream_.get());
  fake_.break_device(kCudaUnknown);
  EXPECT_THROW(clock_.time_of(event_.get()), Error);
}

}  // namespace
}  // namespace sluice

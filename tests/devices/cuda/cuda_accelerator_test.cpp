// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_accelerator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "devices/cuda/cuda_arena.h"
#include "tests/devices/cuda/fake_cuda.h"

namespace sluice {
namespace {

using testing::HasSubstr;
using namespace literals;

TEST(CudaAccelerator, OffersWhatIsFreeNow) {
  FakeCuda fake;
  fake.free_bytes = count(3_GiB);
  const CudaAccelerator gpu(fake.api(), {});
  EXPECT_EQ(gpu.kind(), "cuda");
  EXPECT_THAT(gpu.description(), HasSubstr("Fake H200"));
  EXPECT_EQ(gpu.capacity(), 3_GiB);
  fake.free_bytes = count(2_GiB);  // a library took some
  EXPECT_EQ(gpu.capacity(), 2_GiB);
  EXPECT_EQ(CudaAccelerator(fake.api(), {.capacity = 1_GiB}).capacity(), 1_GiB);
}

TEST(CudaAccelerator, ShortOfMemoryBeforeTheStartSaysWhoHasIt) {
  FakeCuda fake;
  fake.free_bytes = count(100_KiB);
  CudaAccelerator gpu(fake.api(), {});
  const Error error = error_of([&] { gpu.reserve_device(1_MiB); });
  EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
  EXPECT_THAT(error.what(), HasSubstr("other processes"));
}

TEST(CudaAccelerator, OfABusyGpuSaysSoAndLeavesNothing) {
  FakeCuda fake;
  fake.fail("set_device", kCudaBusy);
  const Error error = error_of([&] { CudaAccelerator(fake.api(), {}); });
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("0000:17:00.0, 8.0 GiB, compute capability 9.0: the GPU is"));
  EXPECT_EQ(fake.alive(), 0);
}

TEST(CudaAccelerator, WorksOnTheDeviceItWasGiven) {
  FakeCuda fake;
  fake.add_device("0000:65:00.0");
  CudaAccelerator gpu(fake.api(), {.bus_id = "0000:65:00.0"});
  fake.current_device = 0;  // as in a thread that just started
  const auto queue = gpu.create_queue(QueueKind::kCompute, 2);
  EXPECT_EQ(fake.current_device, 1);
  fake.current_device = 0;
  queue->mark();
  EXPECT_EQ(fake.current_device, 1);
}

// Every call of a start in turn: whatever fails, nothing stays behind.
TEST(CudaAccelerator, ThatFailsHalfWayLeavesNothing) {
  for (const char* call :
       {"device_count", "properties", "set_device", "memory_info", "allocate", "fill_with_zero",
        "create_stream", "create_event", "record", "synchronize_event"}) {
    for (int good = 0; good < 12; ++good) {
      FakeCuda fake;
      fake.fail(call, kCudaUnknown, good);
      try {
        CudaAccelerator gpu(fake.api(), {});
        const auto device = gpu.reserve_device(4_MiB);
        const auto host = gpu.reserve_host(64_KiB);
        const auto queue = gpu.create_queue(QueueKind::kCompute, 4);
        queue->synchronize(queue->mark());
      } catch (const Error&) {
        // Says why: other tests look at that.
      }
      EXPECT_EQ(fake.alive(), 0) << call << " failing after " << good;
    }
  }
}

TEST(CudaDeviceArena, IsOneAllocationGivenBack) {
  FakeCuda fake;
  CudaAccelerator gpu(fake.api(), {});
  {
    const auto arena = gpu.reserve_device(4_MiB);
    EXPECT_EQ(arena->size(), 4_MiB);
    EXPECT_EQ(fake.alive("device memory"), 1);
    EXPECT_EQ(gpu.reserve_device(4_KiB)->size(), 4_KiB);
  }
  EXPECT_EQ(fake.alive("device memory"), 0);
}

TEST(CudaDeviceArena, ThatTheDriverRefusesNamesWhatIsFree) {
  FakeCuda fake;
  CudaAccelerator gpu(fake.api(), {});
  fake.fail("allocate", kCudaNoMemory);
  fake.free_bytes = count(512_MiB);
  const Error error = error_of([&] { gpu.reserve_device(256_MiB); });
  EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
  EXPECT_THAT(error.what(),
              HasSubstr("256.0 MiB asked for, the GPU has 512.0 MiB free of 8.0 GiB"));
}

TEST(CudaHostArena, IsPinnedAndReturned) {
  FakeCuda fake;
  CudaAccelerator gpu(fake.api(), {});
  {
    const auto arena = gpu.reserve_host(64_KiB);
    EXPECT_EQ(arena->size(), 64_KiB);
    EXPECT_EQ(static_cast<CudaHostArena&>(*arena).pinned(), 64_KiB);
    EXPECT_GE(fake.alive("registration"), 1);
  }
  EXPECT_EQ(fake.alive("registration"), 0);
}

TEST(CudaHostArena, ThatMayNotBePinnedStaysPageableAndSaysSoOnce) {
  FakeCuda fake;
  CudaAccelerator gpu(fake.api(), {});
  fake.fail("pin", kCudaNotPermitted);
  testing::internal::CaptureStderr();
  const auto arena = gpu.reserve_host(64_KiB);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "warning: 0 B of 64.0 KiB of host memory could be pinned (cudaErrorFake): copies of "
            "the rest go through a small pinned buffer and are slower; see ulimit -l\n");
  EXPECT_EQ(static_cast<CudaHostArena&>(*arena).pinned(), 0_B);
  arena->base()[count(64_KiB) - 1] = std::byte{1};
}

TEST(CudaHostArena, PiecesEndAtMultiplesOfTheirSize) {
  const auto at = [](std::int64_t address) {
    return reinterpret_cast<const void*>(static_cast<std::uintptr_t>(address));
  };
  constexpr std::int64_t piece = CudaHostArena::kPinnedPiece;
  EXPECT_EQ(within_piece(at(4096), 8_KiB), 8_KiB);
  EXPECT_EQ(within_piece(at(piece - 4096), 8_KiB), 4_KiB);
  EXPECT_EQ(within_piece(at(piece), Bytes{3 * piece}), Bytes{piece});
}

}  // namespace
}  // namespace sluice

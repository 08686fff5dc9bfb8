// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The emulated GPU fails where a GPU fails: what passes on it has not passed for want of looking.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "devices/base/error.h"
#include "tests/emulator/cuda/cuda_runtime.h"
#include "tests/kernels/cuda/device_side.h"

namespace sluice {
namespace {

cudaStream_t some_stream() {
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  return stream;
}

// Starts `kernel` with `threads` on a stream of its own and waits for it.
template <typename... Parameters, typename... Arguments>
cudaError_t run(int blocks, int threads, void (*kernel)(Parameters...), Arguments... arguments) {
  const cudaStream_t stream = some_stream();
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = static_cast<unsigned>(threads);
  config.stream = stream;
  const cudaError_t started = cudaLaunchKernelEx(&config, kernel, arguments...);
  const cudaError_t done = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  return started != cudaSuccess ? started : done;
}

void mirrored(int* to) {
  __shared__ int shared[64];
  const int i = static_cast<int>(threadIdx.x);
  shared[i] = i;
  __syncthreads();
  to[64 * blockIdx.x + threadIdx.x] = shared[63 - i];
}

TEST(Emulator, ThreadsOfABlockShareMemoryAndMeet) {
  std::vector<int> there(128);
  EXPECT_EQ(run(2, 64, mirrored, there.data()), cudaSuccess);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(there[static_cast<std::size_t>(i)], 63 - i % 64);
}

void sum_of_warp(int* to) {
  int x = static_cast<int>(threadIdx.x);
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  to[threadIdx.x] = x;
}

TEST(Emulator, LanesOfAWarpExchange) {
  std::vector<int> there(64);
  EXPECT_EQ(run(1, 64, sum_of_warp, there.data()), cudaSuccess);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(there[i], i < 32 ? 496 : 1520);
}

TEST(Emulator, RefusesALaunchThatAGpuRefuses) {
  std::vector<int> there(1);
  EXPECT_EQ(run(0, 32, sum_of_warp, there.data()), cudaErrorInvalidConfiguration);
  EXPECT_EQ(run(1, 1025, sum_of_warp, there.data()), cudaErrorInvalidConfiguration);
  cudaLaunchConfig_t config{};
  config.dynamicSmemBytes = 100 << 10;
  config.stream = some_stream();
  EXPECT_EQ(cudaLaunchKernelEx(&config, sum_of_warp, there.data()), cudaErrorInvalidValue);
  cudaStreamDestroy(config.stream);
}

void barrier_in_a_branch() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __shfl_xor_sync(0xffffffffU, 0, 1);
    for (int lane = static_cast<int>(threadIdx.x) % 32; lane == 0;) return;
    __shfl_xor_sync(0xffffffffU, 0, 1);
  }
}

TEST(EmulatorDeathTest, EndsWhereAGpuWouldHang) {
  EXPECT_DEATH(run(1, 64, barrier_in_a_branch), "emulated kernel: an exchange lacks a lane");
}

TEST(EmulatorDeathTest, DeviceMemoryIsTheDevicesAlone) {
  const auto accelerator = make_accelerator("cuda", {});
  const auto arena = accelerator->reserve_device(Bytes{4096});
  EXPECT_DEATH(*arena->base() = std::byte{1}, "");
}

TEST(EmulatorDeathTest, AnIndexOutsideItsTableBreaksTheDevice) {
  const auto embed = [] {
    DeviceSide device;
    const std::int32_t* ids = device.uploaded(std::vector<std::int32_t>{0, 3});
    float* table = device.uploaded(std::vector<float>(3 * 4));
    float* out = device.uploaded(std::vector<float>(2 * 4));
    try {
      device.kernels.embedding(device.queue(), Embedding{.tokens = 2,
                                                         .length = 2,
                                                         .width = 4,
                                                         .vocabulary = 3,
                                                         .ids = ids,
                                                         .token_table = table,
                                                         .out = out,
                                                         .dtype = DType::kFloat32});
      device.finish();
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::_Exit(error.kind() == ErrorKind::kInternal ? 3 : 4);
    }
  };
  EXPECT_EXIT(embed(), testing::ExitedWithCode(3), "a kernel failed on the GPU");
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Grids of blocks, and what a launch is refused for.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "tests/emulator/cuda/cuda_runtime.h"
#include "tests/emulator/stream.h"

constinit thread_local uint3 threadIdx{}, blockIdx{};
constinit thread_local dim3 blockDim, gridDim;

namespace sluice {

// kernels/cuda/attention_tiles.cuh names it.
constexpr std::size_t kMostShared = 227 << 10;
extern thread_local float4 lent_memory[];
thread_local float4 lent_memory[kMostShared / sizeof(float4)];

}  // namespace sluice

namespace emulator {
namespace {

constexpr std::size_t kSharedUnasked = 48 << 10;

std::mutex allowed_mutex;
std::map<const void*, std::size_t>& allowed() {  // shared memory that a kernel asked for
  static std::map<const void*, std::size_t> one;
  return one;
}

// Blocks in an order of their own in each launch: none may rely on another.
bool run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  static std::atomic<unsigned> launches{0};
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  const unsigned launch = launches++;
  for (unsigned i = 0; i < gridDim.x; ++i) {
    blockIdx.x = launch % 2 == 0 ? i : gridDim.x - 1 - i;
    std::memset(sluice::lent_memory, 0xff, config.dynamicSmemBytes);
    if (!run_block(static_cast<int>(blockDim.x), (launch + i) % 2 == 1, &threadIdx.x, thread)) {
      return false;
    }
  }
  return true;
}

}  // namespace

cudaError_t allow_shared(const void* kernel, int attribute, int bytes) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || bytes < 0 ||
      static_cast<std::size_t>(bytes) > sluice::kMostShared) {
    return answer(cudaErrorInvalidValue);
  }
  const std::lock_guard lock(allowed_mutex);
  allowed()[kernel] = static_cast<std::size_t>(bytes);
  return answer(cudaSuccess);
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   std::function<void()> thread) {
  if (config.gridDim.x == 0 || config.blockDim.x == 0 || config.blockDim.x > kMostThreads) {
    return answer(cudaErrorInvalidConfiguration);
  }
  {
    const std::lock_guard lock(allowed_mutex);
    const auto asked = allowed().find(kernel);
    const std::size_t most =
        asked == allowed().end() ? kSharedUnasked : std::max(kSharedUnasked, asked->second);
    if (config.dynamicSmemBytes > most) return answer(cudaErrorInvalidValue);
  }
  return enqueue(config.stream, [config, thread = std::move(thread)] {
    return run_grid(config, thread) ? cudaSuccess : cudaErrorLaunchFailure;
  });
}

}  // namespace emulator

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What every CUDA kernel file needs to start its kernels.
//
// Determinism  a grid's size never changes a result: each output is one thread's or one
//              block's, and blocks have a fixed number of threads.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "devices/base/dtype.h"
#include "devices/base/error.h"
#include "devices/base/units.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/formula.h"

namespace sluice {

// What a kernel is started with: `blocks` > 0 of `threads` each, and bytes of memory that a block
// shares beside what the kernel declares.
struct Grid {
  std::int64_t blocks;
  int threads;
  int shared = 0;
};

// Starts `kernel`, called `name` in messages, on the queue's stream.
template <typename... Parameters, typename... Arguments>
void launch(Queue& queue, const char* name, const Grid& grid, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  SLUICE_CHECK(grid.blocks > 0 && grid.blocks <= std::numeric_limits<std::int32_t>::max());
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(grid.blocks);
  config.blockDim = static_cast<unsigned>(grid.threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(grid.shared);
  config.stream = stream_of(queue);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (status != cudaSuccess) check_cuda(status, std::string("start the kernel ") + name);
}

// Blocks for `units` of work that the kernel walks over in grid strides. Requires units > 0:
// a launch of an empty grid is an error.
inline std::int64_t grid_for(std::int64_t units, std::int64_t per_block = 1) {
  constexpr std::int64_t kMost = 8192;  // some waves on the largest GPU
  return std::min(divide_up(units, per_block), kMost);
}

// This thread's place in the grid, and how many threads the grid has.
__device__ inline std::int64_t grid_thread() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t grid_threads() { return std::int64_t{gridDim.x} * blockDim.x; }

// A promise of the caller's that only the device can check. A broken one ends the kernel with
// an error that the queue reports.
__device__ inline void device_check(bool condition) {
  if (!condition) __trap();
}

// Calls body(T{}) with the C++ type that stands for `dtype`.
template <typename Body>
void for_type(DType dtype, const Body& body) {
  if (dtype == DType::kFloat32) {
    body(float{});
  } else {
    body(bf16{});
  }
}

template <typename T>
const T* typed(const void* base) {
  return static_cast<const T*>(base);
}
template <typename T>
T* typed(void* base) {
  return static_cast<T*>(base);
}

}  // namespace sluice

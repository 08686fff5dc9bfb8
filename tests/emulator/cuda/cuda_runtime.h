// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// In the place of the toolkit's header of this name: the words and functions of device code that
// Sluice's kernels use, in C++, and their launch (CUDA C++ Programming Guide, "C++ Language
// Extensions"). A host compiler then compiles a .cu file as it stands.

#include "tests/emulator/cuda/cuda_runtime_api.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "tests/emulator/block.h"
#include "tests/emulator/stream.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// A host thread runs one block at a time, and all of that.
#define __shared__ thread_local

struct alignas(16) float4 {
  float x, y, z, w;
};
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  constexpr dim3(unsigned across = 1)
      : x(across) {}  // NOLINT(google-explicit-constructor): as CUDA
  unsigned x, y = 1, z = 1;
};

extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

inline void __syncthreads() { emulator::meet(false); }
inline int __syncthreads_or(int yes) { return emulator::meet(yes != 0) ? 1 : 0; }
[[noreturn]] inline void __trap() { emulator::trap(); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

namespace emulator {

constexpr unsigned kAllLanes = 0xffffffffU;

inline int lane() { return static_cast<int>(threadIdx.x) % kWarp; }

}  // namespace emulator

template <typename Number>
Number __shfl_xor_sync(unsigned mask, Number x, int offset, int width = emulator::kWarp) {
  static_assert(sizeof(Number) <= sizeof(std::uint64_t));
  if (mask != emulator::kAllLanes || offset >= width) emulator::trap();
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof(Number));
  std::memcpy(&x, &emulator::exchange(bits)[emulator::lane() ^ offset], sizeof(Number));
  return x;
}

inline unsigned __ballot_sync(unsigned mask, bool vote) {
  if (mask != emulator::kAllLanes) emulator::trap();
  const std::uint64_t* votes = emulator::exchange(vote ? 1 : 0);
  unsigned all = 0;
  for (int i = 0; i < emulator::kWarp; ++i) all |= static_cast<unsigned>(votes[i]) << i;
  return all;
}

inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long x) {
  return __atomic_fetch_add(to, x, __ATOMIC_RELAXED);
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  return emulator::allow_shared(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  return emulator::launch(*config, reinterpret_cast<const void*>(kernel),
                          [=] { kernel(static_cast<Parameters>(arguments)...); });
}

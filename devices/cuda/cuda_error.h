// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What CUDA answers, in words that a user can act on. kernels/cuda checks its
// launches and library calls here too: a cudaError_t converts to `int status`.

#include <cstdint>
#include <string_view>

#include "devices/base/error.h"
#include "devices/cuda/cuda_api.h"

namespace sluice {

// NVIDIA's numbers, fixed since CUDA 10.1; cuda_runtime.cpp holds them against the headers.
enum CudaStatus : int {
  kCudaSuccess = 0,
  kCudaNoMemory = 2,
  kCudaNotInitialized = 3,
  kCudaDriverTooOld = 35,
  kCudaBusy = 46,
  kCudaNoDevice = 100,
  kCudaInvalidDevice = 101,
  kCudaStartupFailure = 127,
  kCudaNoKernelImage = 209,
  kCudaEcc = 214,
  kCudaNvlink = 220,
  kCudaUnsupportedPtx = 222,
  kCudaContained = 226,
  kCudaOperatingSystem = 304,
  kCudaIllegalAddress = 700,
  kCudaLaunchTimeout = 702,
  kCudaContextIsDestroyed = 709,
  kCudaHardwareStack = 714,
  kCudaIllegalInstruction = 715,
  kCudaMisalignedAddress = 716,
  kCudaInvalidPc = 718,
  kCudaLaunchFailure = 719,
  kCudaNotPermitted = 800,
  kCudaNotSupported = 801,
  kCudaSystemNotReady = 802,
  kCudaDriverMismatch = 803,
  kCudaCompatibility = 804,
  kCudaUnknown = 999,
};

// The same status means another thing before the first kernel and after it: a
// device that is unavailable is busy at the start and lost in mid-run.
enum class CudaPhase : std::uint8_t { kStart, kRun };

// "cannot <doing>: <why> (cudaErrorName); <remedy>", one line. Forgets the
// runtime's own last error. Kind: kConfig for what another driver, device or
// build would mend, kNoFit for memory, kInternal for what broke.
Error cuda_error(const CudaApi& api, int status, std::string_view doing, CudaPhase phase);

// Throws cuda_error() unless `status` is success. No cost but the comparison else.
inline void check_cuda(const CudaApi& api, int status, std::string_view doing,
                       CudaPhase phase = CudaPhase::kRun) {
  if (status != kCudaSuccess) throw cuda_error(api, status, doing, phase);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What our own kernels and calls of libraries need alike: the stream behind a queue, and what CUDA
// answers as an error of ours.

#include <cuda_runtime_api.h>

#include <string_view>

#include "devices/cuda/cuda_api.h"
#include "devices/cuda/cuda_error.h"
#include "devices/cuda/cuda_queue.h"

namespace sluice {

// The stream behind `queue`, its device made current; throws what the queue has failed of. Ask
// for it before each launch.
inline cudaStream_t stream_of(Queue& queue) {
  return static_cast<cudaStream_t>(static_cast<CudaQueue&>(queue).native());
}

inline void check_cuda(cudaError_t status, std::string_view doing) {
  check_cuda(cuda_api(), status, doing);
}

// A library that fails on a broken device does not say so: this throws what the device has.
inline void check_device(cudaStream_t stream, std::string_view doing) {
  const cudaError_t status = cudaStreamQuery(stream);
  if (status != cudaSuccess && status != cudaErrorNotReady) check_cuda(status, doing);
}

}  // namespace sluice

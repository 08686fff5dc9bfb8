// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the emulated runtime offers to the headers and libraries on top of it.

#include "tests/emulator/cuda/cuda_runtime_api.h"

#include <cstddef>
#include <functional>

struct cudaLaunchConfig_t;

namespace emulator {

// What a call returns: `status`, or what broke the device. This thread failed of it last.
cudaError_t answer(cudaError_t status);

// `work` when the stream gets there, with device memory open to it. Its result other than
// cudaSuccess breaks the device: every later call has it.
cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work);

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   std::function<void()> thread);
cudaError_t allow_shared(const void* kernel, int attribute, int bytes);

}  // namespace emulator

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include "devices/base/units.h"
#include "kernels/kernels.h"

namespace sluice {

// CUDA's kernels, for queues that are a CudaQueue. In a build without CUDA
// (table_missing.cpp) Error{kConfig} that says so.
const KernelTable& cuda_kernels();

// As kernel_notes(); empty in a build without CUDA.
std::vector<std::string> cuda_kernel_notes();

// The workspace of library calls, one after the other on a queue. cuBLASLt's own default on the
// GPUs it is fastest on; a queue that was lent less gets algorithms that need less.
inline constexpr Bytes kCudaScratch{std::int64_t{32} << 20};

// That, or what cuDNN wants for backward of one group of heads of `shape`, so that long sequences
// need not be our own slower kernel's; above 256 MiB of scores only what newer versions want.
Bytes cuda_scratch(const Attention& shape);

}  // namespace sluice

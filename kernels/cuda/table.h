// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include "devices/base/units.h"
#include "kernels/kernels.h"

namespace sluice {

// CUDA's kernels, for queues that are a CudaQueue. In a build without CUDA
// (table_missing.cpp) Error{kConfig} that says so.
const KernelTable& cuda_kernels();

// Device memory that the matrix product takes on the first queue that multiplies,
// once per queue and for good, beside every arena: a plan for a GPU must count it.
inline constexpr Bytes kCudaMatmulWorkspace{std::int64_t{32} << 20};

}  // namespace sluice

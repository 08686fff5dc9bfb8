// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <string>

namespace sluice {

// The widest vector instructions of this CPU, for people: "AVX-512 bf16",
// "AVX-512", "AVX2", "NEON", "baseline". Kernels choose for themselves.
std::string simd_level();

}  // namespace sluice

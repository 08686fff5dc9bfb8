// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/simd_level.h"

namespace sluice {

#if defined(__x86_64__)
std::string simd_level() {
  if (__builtin_cpu_supports("avx512bf16")) return "AVX-512 bf16";
  if (__builtin_cpu_supports("avx512f")) return "AVX-512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "AVX2";
  return "baseline";
}
#elif defined(__aarch64__)
std::string simd_level() { return "NEON"; }
#else
std::string simd_level() { return "baseline"; }
#endif

}  // namespace sluice

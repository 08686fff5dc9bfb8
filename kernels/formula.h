// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Building blocks of the formulas in *_math.h. Every one is plain scalar code on
// IEEE single precision, without library calls, branches or tables, so that the
// host compiler turns a loop over it into vectors of any width with the same bits
// as the scalar tail, and a CUDA kernel can call it as it stands.
//
// Determinism  compiled without contraction; `fused` is the one way to a fused
//              multiply-add.

#include <bit>
#include <cstdint>

#include "devices/base/bf16.h"
#include "devices/base/host_device.h"

// A formula is always inlined: into the SIMD level of the loop that calls it.
#ifdef __CUDACC__
#define SLUICE_FORMULA SLUICE_HOST_DEVICE __forceinline__
#else
#define SLUICE_FORMULA [[gnu::always_inline]] SLUICE_HOST_DEVICE inline
#endif

namespace sluice {

// a * b + c, rounded once.
SLUICE_FORMULA float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

SLUICE_FORMULA float square_root(float x) { return __builtin_sqrtf(x); }

// Elements in and out of storage; bf16 is rounded to nearest even. By reference and by
// member: GCC 12 does not vectorise a loop that copies a bf16 whole.
SLUICE_FORMULA float loaded(const float& from) { return from; }
SLUICE_FORMULA float loaded(const bf16& from) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(from.bits) << 16);
}
SLUICE_FORMULA void store(float x, float* to) { *to = x; }
SLUICE_FORMULA void store(float x, bf16* to) { to->bits = to_bf16(x).bits; }

// e^x within 1.5 ulp; subnormal results included, infinite above 88.7, NaN stays NaN.
SLUICE_FORMULA float exponential(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -104.0F ? -104.0F : x;
  x = x > 89.0F ? 89.0F : x;
  const float shifted = fused(x, kLog2E, kRound);
  const float n = shifted - kRound;
  const float r = fused(n, -kLn2Low, fused(n, -kLn2High, x));
  float p = 1.9875691500e-4F;  // polynomial of Cephes (Moshier)
  p = fused(p, r, 1.3981999507e-3F);
  p = fused(p, r, 8.3334519073e-3F);
  p = fused(p, r, 4.1665795894e-2F);
  p = fused(p, r, 1.6666665459e-1F);
  p = fused(p, r, 5.0000001201e-1F);
  p = fused(p, r * r, r) + 1.0F;
  // 2^n in two factors, since n reaches from -150 to 128.
  const std::int32_t exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) -
                                                          std::bit_cast<std::uint32_t>(kRound));
  const std::int32_t half = exponent >> 1;
  const std::uint32_t first = (static_cast<std::uint32_t>(half) + 127U) << 23;
  const std::uint32_t second =
      (static_cast<std::uint32_t>(exponent) - static_cast<std::uint32_t>(half) + 127U) << 23;
  return p * std::bit_cast<float>(first) * std::bit_cast<float>(second);
}

// The error function, absolute error below 1e-7, relative below 3 ulp.
SLUICE_FORMULA float error_function(float x) {
  const float t = x < 0.0F ? -x : x;
  const float s = x * x;
  // erf(x) = x + x P(x^2) near 0; both polynomials are least-squares fits.
  float p = 8.438688276e-05F;
  p = fused(p, s, -8.160760820e-04F);
  p = fused(p, s, 5.202833121e-03F);
  p = fused(p, s, -2.686023978e-02F);
  p = fused(p, s, 1.128371381e-01F);
  p = fused(p, s, -3.761263530e-01F);
  p = fused(p, s, 1.283791669e-01F);
  const float near = fused(p, x, x);
  // erf(t) = 1 - exp(-t + t Q(t)) up to 4, where it is 1 in single precision.
  const float u = t > 4.0F ? 4.0F : t;
  float q = -1.223127206e-05F;
  q = fused(q, u, 3.324876821e-04F);
  q = fused(q, u, -3.680496743e-03F);
  q = fused(q, u, 2.383967732e-02F);
  q = fused(q, u, -1.063237111e-01F);
  q = fused(q, u, -6.351007643e-01F);
  q = fused(q, u, -1.286604680e-01F);
  const float far = 1.0F - exponential(fused(q, u, -u));
  const float signed_far = x < 0.0F ? -far : far;
  return t > 0.921875F ? signed_far : near;
}

}  // namespace sluice

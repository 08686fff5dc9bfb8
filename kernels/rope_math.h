// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Rotary position embedding (Su et al. 2021) in Hugging Face's layout: the pair of
// index i is elements i and i + D/2 of a head.

#include <cmath>
#include <cstdint>

#include "kernels/formula.h"
#include "kernels/kernels.h"

namespace sluice {

// Radians per position of pair `index` of a head of `head_width` elements. In
// double, like the angle: position * frequency in fp32 is off by 1e-3 at 16,000.
SLUICE_HOST_DEVICE inline double rope_frequency(float theta, const RopeScaling& scaling,
                                                std::int64_t index, std::int64_t head_width) {
  const double frequency =
      std::pow(static_cast<double>(theta),
               -2.0 * static_cast<double>(index) / static_cast<double>(head_width));
  if (scaling.factor == 1.0F) return frequency;
  const double stretched = frequency / static_cast<double>(scaling.factor);
  // Turns that the pair makes within the original context.
  const double turns =
      static_cast<double>(scaling.original_context) * frequency / (2.0 * 3.14159265358979323846);
  const double low = static_cast<double>(scaling.low_factor);
  const double high = static_cast<double>(scaling.high_factor);
  if (turns > high) return frequency;
  if (turns < low) return stretched;
  const double kept = (turns - low) / (high - low);
  return (1.0 - kept) * stretched + kept * frequency;
}

struct RopePair {
  float low, high;
};
SLUICE_FORMULA RopePair rope_rotated(float low, float high, float cosine, float sine) {
  return {low * cosine - high * sine, high * cosine + low * sine};
}

}  // namespace sluice

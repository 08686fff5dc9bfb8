// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "devices/accelerator.h"

namespace sluice {

// The median of `run`'s times after one run that warms up: at least `least` of them, more
// until `budget` is spent. A step is made of typical runs, not of the best: forecasts from the
// shortest time came out a third too good.
template <typename Run>
Seconds typical_time(Seconds budget, std::size_t least, Run run) {
  run();
  std::vector<Seconds> times;
  for (Seconds spent{0}; times.size() < least || spent < budget;) {
    const Seconds start = steady_seconds();
    run();
    times.push_back(steady_seconds() - start);
    spent += times.back();
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace sluice

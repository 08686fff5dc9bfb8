// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/precise_sleep.h"

#include <thread>

#include "devices/accelerator.h"

namespace sluice {

void sleep_until(Seconds end) {
  constexpr Seconds spin{30e-6};
  for (Seconds left = end - steady_seconds(); left > Seconds{}; left = end - steady_seconds()) {
    if (left > spin) std::this_thread::sleep_for(left - spin);
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include "devices/base/units.h"

namespace sluice {

// Sleeps until steady_seconds() is at least `end`; never shorter. Spins for the
// last 30 us only, because cores are for computing.
void sleep_until(Seconds end);

}  // namespace sluice

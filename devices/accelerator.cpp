// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/accelerator.h"

namespace sluice {

Seconds steady_seconds() { return std::chrono::steady_clock::now().time_since_epoch(); }

}  // namespace sluice

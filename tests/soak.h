// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <cstdlib>

namespace sluice {

// How often a test does what it does at random: tools/soak.sh sets SLUICE_TEST_SOAK.
inline int times(int in_every_change, int in_soak) {
  return std::getenv("SLUICE_TEST_SOAK") != nullptr ? in_soak : in_every_change;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/replay.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

SLUICE_FUZZ_TARGET(plan) { parse_plan(std::string(bytes), "plan.json"); }

}  // namespace sluice

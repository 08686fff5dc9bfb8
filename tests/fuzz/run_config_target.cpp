// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/load_config.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

// What is loaded prints as a config again.
SLUICE_FUZZ_TARGET(run_config) {
  print_config(load_config_text(std::string(bytes), "run.toml", "/nowhere", {}));
}

}  // namespace sluice

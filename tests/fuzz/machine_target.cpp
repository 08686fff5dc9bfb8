// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_file.h"
#include "devices/machine_text.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

// What is read is written, and read again.
SLUICE_FUZZ_TARGET(machine) {
  const Machine machine = parse_machine(std::string(bytes), "machine.toml");
  parse_machine(to_toml(machine), "written");
}

}  // namespace sluice

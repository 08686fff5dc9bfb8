// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/manifest.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

// As it is, and with the checksum that it should have: behind a wrong one nothing is read.
SLUICE_FUZZ_TARGET(manifest) {
  const std::string_view body = bytes.substr(0, bytes.rfind(",\"checksum\":"));
  const std::string sealed = std::string(body) + manifest_tail(body);
  try {
    parse_manifest(sealed, "manifest.json");
  } catch (const Error&) {
    if (sealed == bytes) throw;
  }
  parse_manifest(std::string(bytes), "manifest.json");
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {

int run_verify(const LoadedConfig& loaded, const VerifyOptions& options) {
  outlive_limits();  // and remove the swap file
  const VerifyResult result = verify(loaded, options);
  if (!result.difference.empty()) {
    fmt::print("verify: {}\n", result.difference);
    return 1;
  }
  fmt::print("verify: {} placements, all digests equal\n", result.placements);
  return 0;
}

}  // namespace sluice

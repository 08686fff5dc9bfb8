// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {

int run_train(const LoadedConfig& loaded, const TrainOptions& options) {
  outlive_limits();
  const TrainResult result = train(loaded, options);
  fmt::print("{}\n", result.reason);
  return result.exit_code();
}

}  // namespace sluice

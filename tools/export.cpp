// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "devices/base/format.h"
#include "engine/run/saved_model.h"
#include "tools/commands.h"

namespace sluice {

int run_export(const std::filesystem::path& model, const ExportOptions& options) {
  const ExportSource source = folder_source(model_folder_of(model));
  const ExportResult result = export_model(source, options);
  fmt::print("exported {} parameters, {}, to {}\n",
             format_count(static_cast<double>(result.parameters)), format_bytes(result.size),
             options.out.string());
  return 0;
}

}  // namespace sluice

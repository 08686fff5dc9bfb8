// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <optional>

#include "devices/base/format.h"
#include "engine/run/saved_model.h"
#include "engine/run/stop_request.h"
#include "tools/commands.h"

namespace sluice {
namespace {

constexpr StopLines kStopOfExport{"stopping, and removing what was begun",
                                  "what was begun is left beside the target"};

}  // namespace

int run_export(const std::filesystem::path& model, ExportOptions options) {
  const ExportSource source = folder_source(model_folder_of(model));
  const StopRequest stop(std::nullopt, kStopOfExport);
  options.stop = [&stop] { return stop.asked(); };
  const ExportResult result = export_model(source, options);
  if (result.stopped) {
    fmt::print("stopped by a signal: nothing was written\n");
    return kStopped;
  }
  fmt::print("exported {} parameters, {}, to {}\n",
             format_count(static_cast<double>(result.parameters)), format_bytes(result.size),
             options.out.string());
  return 0;
}

}  // namespace sluice

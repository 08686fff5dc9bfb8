// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <atomic>
#include <csignal>

#include "devices/base/format.h"
#include "engine/run/saved_model.h"
#include "engine/run/stop_request.h"
#include "tools/commands.h"

namespace sluice {
namespace {

std::atomic<bool> stopped{false};

void on_signal(int /*signal*/) { stopped = true; }

// The first signal lets the export clear away what it has begun; the second ends the process.
void clear_away_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(signal, &action, &before);
    // nohup: who wants to outlive the terminal goes on.
    if (before.sa_handler == SIG_IGN) sigaction(signal, &before, nullptr);
  }
}

}  // namespace

int run_export(const std::filesystem::path& model, ExportOptions options) {
  const ExportSource source = folder_source(model_folder_of(model));
  clear_away_on_signals();
  options.stop = [] { return stopped.load(); };
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

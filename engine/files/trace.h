// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// trace.json in the trace-event format, as trace viewers open it: one process for
// the forecast, one for the measurement, a row per lane.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "devices/base/units.h"

namespace sluice {

struct TraceSpan {
  std::string name;
  std::string lane;
  Seconds start{}, end{};  // from the start of its timeline
  std::vector<std::pair<std::string, std::string>> args = {};
};

// Rows come in the order in which lanes first appear; spans of a lane that overlap,
// as transfers in flight do, get further rows "lane (2)".
std::string trace_text(const std::vector<TraceSpan>& forecast,
                       const std::vector<TraceSpan>& measurement);

// Replaces the file. Error{kIo}.
void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& forecast,
                 const std::vector<TraceSpan>& measurement);

}  // namespace sluice

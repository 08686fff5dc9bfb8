// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/files/output_file.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

double microseconds(Seconds time) { return time.count() * 1e6; }

Json metadata(const char* what, int process, int row, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", row}, {"args", {{"name", name}}}};
}

struct Row {
  std::string lane;
  int copy = 1;  // 2 for "lane (2)"
  Seconds busy_until{};
};

// The first row of the span's lane that is free at its start, or a new one.
std::size_t row_for(const TraceSpan& span, std::vector<Row>& rows) {
  int copies = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].lane != span.lane) continue;
    if (rows[i].busy_until <= span.start) return i;
    ++copies;
  }
  rows.push_back({span.lane, copies + 1});
  return rows.size() - 1;
}

void add_process(Json& events, int process, const char* name, const std::vector<TraceSpan>& spans) {
  events.push_back(metadata("process_name", process, 0, name));
  std::vector<Row> rows;
  for (const TraceSpan& span : spans) {  // every lane gets its first row before any second
    const bool known = std::any_of(rows.begin(), rows.end(),
                                   [&](const Row& row) { return row.lane == span.lane; });
    if (!known) rows.push_back({span.lane});
  }
  std::vector<std::size_t> order(spans.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return spans[a].start < spans[b].start; });
  // From the first span's start: viewers drop what lies before 0.
  const Seconds first = order.empty() ? Seconds{} : std::min(Seconds{}, spans[order.front()].start);
  for (const std::size_t index : order) {
    const TraceSpan& span = spans[index];
    const std::size_t row = row_for(span, rows);
    rows[row].busy_until = span.end;
    Json event{{"name", span.name},
               {"ph", "X"},
               {"pid", process},
               {"tid", row + 1},
               {"ts", microseconds(span.start - first)},
               {"dur", microseconds(span.end - span.start)}};
    for (const auto& [key, value] : span.args) event["args"][key] = value;
    events.push_back(std::move(event));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string label =
        rows[i].copy == 1 ? rows[i].lane : fmt::format("{} ({})", rows[i].lane, rows[i].copy);
    events.push_back(metadata("thread_name", process, static_cast<int>(i) + 1, label));
  }
}

}  // namespace

std::string trace_text(const std::vector<TraceSpan>& forecast,
                       const std::vector<TraceSpan>& measurement) {
  Json events = Json::array();
  add_process(events, 1, "forecast", forecast);
  add_process(events, 2, "measurement", measurement);
  const Json trace{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return trace.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& forecast,
                 const std::vector<TraceSpan>& measurement) {
  replace_file(path, trace_text(forecast, measurement));
}

}  // namespace sluice

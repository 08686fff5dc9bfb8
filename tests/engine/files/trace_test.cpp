// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/trace.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

Json events_of(const std::vector<TraceSpan>& forecast, const std::vector<TraceSpan>& measured) {
  const ScratchFolder folder;
  write_trace(folder / "trace.json", forecast, measured);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"trace.json"});
  return Json::parse(text_of(folder / "trace.json")).at("traceEvents");
}

// "process/row name" of the row an operation is drawn in.
std::string row_of(const Json& events, int process, const std::string& name) {
  Json row;
  for (const Json& event : events) {
    if (event["ph"] == "X" && event["pid"] == process && event["name"] == name) row = event["tid"];
  }
  for (const Json& event : events) {
    if (event["name"] == "thread_name" && event["pid"] == process && event["tid"] == row) {
      return event["args"]["name"];
    }
  }
  return "none";
}

TEST(Trace, ForecastAndMeasurementAreTwoProcessesOfLanes) {
  const TraceSpan planned{"F0", "compute", Seconds{0.001}, Seconds{0.003}, {{"layer", "h.0"}}};
  TraceSpan measured = planned;
  measured.end = Seconds{0.004};
  const Json events = events_of({planned}, {measured});
  EXPECT_EQ(row_of(events, 1, "F0"), "compute");
  EXPECT_EQ(row_of(events, 2, "F0"), "compute");
  std::vector<double> durations;
  for (const Json& event : events) {
    if (event["ph"] != "X") continue;
    EXPECT_NEAR(event["ts"].get<double>(), 1000, 1e-9);
    EXPECT_EQ(event["args"]["layer"], "h.0");
    durations.push_back(event["dur"]);
  }
  ASSERT_EQ(durations.size(), 2U);
  EXPECT_NEAR(durations[0], 2000, 1e-9);
  EXPECT_NEAR(durations[1], 3000, 1e-9);
}

TEST(Trace, SpansInFlightTogetherGetRowsOfTheirOwn) {
  const Json events = events_of({{"a", "storage_read", Seconds{0}, Seconds{2}},
                                 {"b", "storage_read", Seconds{1}, Seconds{3}},
                                 {"c", "storage_read", Seconds{2}, Seconds{4}},
                                 {"d", "compute", Seconds{0}, Seconds{1}}},
                                {});
  EXPECT_EQ(row_of(events, 1, "a"), "storage_read");
  EXPECT_EQ(row_of(events, 1, "b"), "storage_read (2)");
  EXPECT_EQ(row_of(events, 1, "c"), "storage_read");
  EXPECT_EQ(row_of(events, 1, "d"), "compute");
}

TEST(Trace, AnOlderTraceIsReplaced) {
  const ScratchFolder folder;
  folder.write("trace.json", "old");
  write_trace(folder / "trace.json", {}, {});
  EXPECT_TRUE(Json::accept(text_of(folder / "trace.json")));
}

}  // namespace
}  // namespace sluice

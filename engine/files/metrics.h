// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// metrics.jsonl: one JSON object a line, each written at once. A number that is
// not finite is null.

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "devices/base/units.h"
#include "engine/files/output_file.h"

namespace sluice {

struct LaneMetrics {
  std::string lane;
  Seconds busy{};
  Bytes bytes;
};

struct StepMetrics {
  std::int64_t step = 0;
  Tokens tokens;  // unmasked, since the run began
  double loss = 0;
  double grad_norm = 0;
  double lr = 0;
  Seconds step_time{};
  double tokens_per_second = 0;
  Seconds forecast{};
  std::vector<LaneMetrics> lanes;
  std::optional<std::uint64_t> digest;
  std::optional<std::int64_t> skipped;  // steps, since the run began
};

struct EvaluationMetrics {
  std::int64_t step = 0;
  double loss = 0;
  Tokens tokens;
};

// One field of an event: {"step", 100} or {"path", "..."}.
class EventField {
 public:
  EventField(std::string name, std::integral auto value)
      : EventField(std::move(name), static_cast<std::int64_t>(value)) {}
  EventField(std::string name, std::int64_t value);
  EventField(std::string name, double value);
  EventField(std::string name, const std::string& value);
  EventField(std::string name, const char* value)
      : EventField(std::move(name), std::string(value)) {}

  const std::string& name() const { return name_; }
  const std::string& json() const { return json_; }

 private:
  std::string name_;
  std::string json_;  // the value, as it is written
};

// In the order they are written.
using EventFields = std::vector<EventField>;

// Drops the lines of steps behind `step`, and of validations behind `validated`: what a run
// that goes on from there will write again. Durably; the file is whole at every moment.
// Errors   Error{kIo}.
void cut_metrics(const std::filesystem::path& path, std::int64_t step, std::int64_t validated);

// On a full disk lines wait in memory for room, which a warning says once; they go into the
// file, in order, with the first line that finds some.
//
// Threads  one at a time.
// Errors   Error{kIo}; also where more than 16 MiB of lines wait.
class MetricsWriter {
 public:
  // Goes on behind what is there; a line that a crash cut short is dropped.
  explicit MetricsWriter(const std::filesystem::path& path);

  void step(const StepMetrics& metrics);
  void evaluation(const EvaluationMetrics& metrics);

  // event("checkpoint", {{"step", 100}, {"path", "..."}}).
  void event(const std::string& name, const EventFields& fields);

  void flush();  // tries to write what waits
  bool all_written() const { return waiting_.empty(); }

 private:
  void write_line(const std::string& json);

  std::filesystem::path path_;
  OutputFile file_;
  std::string waiting_;
  bool warned_ = false;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a run tells of its steps: progress for people, metrics.jsonl, the trace.

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/checkpoint/checkpoint_saver.h"
#include "engine/config/run_config.h"
#include "engine/files/metrics.h"
#include "engine/files/trace.h"
#include "engine/run/drive_watch.h"
#include "offload/plan.h"

namespace sluice {

struct StepResult {
  std::int64_t step = 0;
  double loss = 0, norm = 0, lr = 0;
  std::int64_t tokens = 0;                   // since the run began
  std::optional<std::int64_t> skipped = {};  // steps so far, where steps may be skipped
  EventFields skip = {};                     // why this one was; empty: it was not
};

// The spans of a plan's forecast.
std::vector<TraceSpan> forecast_spans(const Plan& plan);

// Threads: reported and digest come from the host_compute lane, completed and checkpoints from
// the run's thread; steps are written in order, by whichever brings what the next one lacks.
class StepLog {
 public:
  // total_steps 0: nobody knows. Borrows plan and metrics.
  StepLog(const RunConfig& config, const Plan& plan, MetricsWriter& metrics,
          std::int64_t total_steps);

  void reported(const StepResult& result);
  void digest(std::int64_t step, std::uint64_t value);
  void completed(std::int64_t step, const Timeline& timeline);
  void drained();  // writes what waited
  // The last step in metrics.jsonl; not `all`: or among lines that wait for room.
  struct Written {
    std::int64_t step = 0;
    bool all = true;
  };
  Written written() const;
  // Events and lines of checkpoints that ended. Called where completed() is, or between runs.
  void checkpoints(const std::vector<SavedCheckpoint>& ended);
  // A line for people between two steps.
  void say(const std::string& line);

  const std::vector<TraceSpan>& measured() const { return trace_; }

 private:
  struct Pending {
    StepResult result;
    bool completed = false;
    StepMetrics metrics;
  };

  void flush();
  void show(const StepMetrics& metrics);
  void watch_drives(const StepMetrics& metrics);
  void show_bar(std::string line, std::int64_t step);
  void trace(const Timeline& timeline);

  LogConfig config_;
  const Plan& plan_;
  MetricsWriter& metrics_;
  std::int64_t total_steps_;
  bool bar_;  // a progress bar instead of lines
  bool bar_shown_ = false;
  mutable std::mutex mutex_;
  std::deque<Pending> pending_;  // by step
  double step_seconds_ = 0;      // running mean
  std::array<DriveWatch, 2> drives_{DriveWatch("storage_read"), DriveWatch("storage_write")};
  std::vector<TraceSpan> trace_;
  double trace_start_ = 0;
  std::int64_t written_ = 0;
};

}  // namespace sluice

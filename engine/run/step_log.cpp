// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/step_log.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"

namespace sluice {
namespace {

TraceSpan trace_span(const Plan& plan, std::size_t operation, const Span& span, double origin) {
  const Operation& o = plan.program.operations[operation];
  return {.name = label_of(plan.workload, o),
          .lane = std::string(name_of(o.lane)),
          .start = Seconds{span.start - origin},
          .end = Seconds{span.end - origin}};
}

// From the first start to the last end.
double duration_of(const Timeline& timeline) {
  double start = 0, end = 0;
  for (const Span& span : timeline.spans) {
    if (span.end <= 0) continue;  // masked
    start = start == 0 ? span.start : std::min(start, span.start);
    end = std::max(end, span.end);
  }
  return end - start;
}

std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

StepLog::StepLog(const RunConfig& config, const Plan& plan, MetricsWriter& metrics,
                 std::int64_t total_steps)
    : config_(config.log),
      plan_(plan),
      metrics_(metrics),
      total_steps_(total_steps),
      bar_(::isatty(STDERR_FILENO) != 0 && !is_quiet()) {
  if (config_.trace) {
    const auto steps = static_cast<std::size_t>(config_.trace->last - config_.trace->first + 1);
    trace_.reserve(steps * plan.program.operations.size());
  }
}

void StepLog::reported(const StepResult& result) {
  const std::lock_guard lock(mutex_);
  pending_.push_back({.result = result});
}

void StepLog::digest(std::int64_t step, std::uint64_t value) {
  const std::lock_guard lock(mutex_);
  for (Pending& pending : pending_) {
    if (pending.result.step == step) pending.metrics.digest = value;
  }
  flush();
}

StepLog::Written StepLog::written() const {
  const std::lock_guard lock(mutex_);
  return {.step = written_, .all = metrics_.all_written()};
}

void StepLog::completed(std::int64_t step, const Timeline& timeline) {
  const std::lock_guard lock(mutex_);
  const auto pending = std::find_if(pending_.begin(), pending_.end(),
                                    [step](const Pending& p) { return p.result.step == step; });
  SLUICE_CHECK(pending != pending_.end());
  pending->completed = true;
  StepMetrics& m = pending->metrics;
  const StepResult& result = pending->result;
  m.step = step;
  m.tokens = {result.tokens};
  m.loss = result.loss;
  m.grad_norm = result.norm;
  m.lr = result.lr;
  m.skipped = result.skipped;
  // The first step after a pause has no step before it to be measured from: it counts
  // from its own start.
  const double seconds = timeline.step_seconds > 0 ? timeline.step_seconds : duration_of(timeline);
  m.step_time = Seconds{seconds};
  m.tokens_per_second = static_cast<double>(plan_.workload.tokens_per_step().value) / seconds;
  m.forecast = Seconds{plan_.forecast.step_seconds};
  const auto use = lane_use(plan_.program, timeline);
  for (const Lane lane : kLanes) {
    const LaneUse& lane_use = use[index_of(lane)];
    m.lanes.push_back({.lane = std::string(name_of(lane)),
                       .busy = Seconds{lane_use.busy_seconds},
                       .bytes = lane_use.bytes});
  }
  if (config_.trace && step >= config_.trace->first && step <= config_.trace->last) {
    trace(timeline);
  }
  watch_drives(m);
  show(m);
  flush();
}

void StepLog::watch_drives(const StepMetrics& m) {
  for (std::size_t i = 0; i < drives_.size(); ++i) {
    const LaneMetrics& lane = m.lanes[index_of(Lane::kStorageRead) + i];
    const std::optional<std::string> line = drives_[i].observe(lane.bytes, lane.busy);
    if (!line) continue;
    if (std::exchange(bar_shown_, false)) std::fputc('\n', stderr);
    log_warn(*line);
  }
}

// Lines are written in order; one that waits for its digest holds the later ones.
void StepLog::flush() {
  while (!pending_.empty() && pending_.front().completed &&
         (!config_.digest || pending_.front().metrics.digest)) {
    metrics_.step(pending_.front().metrics);
    const EventFields& skip = pending_.front().result.skip;
    if (!skip.empty()) metrics_.event("skip", skip);
    written_ = pending_.front().result.step;
    pending_.pop_front();
  }
}

void StepLog::drained() {
  const std::lock_guard lock(mutex_);
  flush();
  metrics_.flush();
}

void StepLog::show(const StepMetrics& m) {
  const double seconds = m.step_time.count();
  step_seconds_ = step_seconds_ == 0 ? seconds : 0.9 * step_seconds_ + 0.1 * seconds;
  const bool last = m.step == total_steps_;
  const bool due = config_.every > 0 && (last || m.step == 1 || m.step % config_.every == 0);
  if (!bar_ && !due) return;
  std::string left;
  if (total_steps_ > 0 && !last) {
    left = fmt::format(
        "  left {}",
        format_seconds(Seconds{step_seconds_ * static_cast<double>(total_steps_ - m.step)}));
  }
  // What matters most comes first: a narrow terminal cuts the end off.
  const std::string line =
      fmt::format("step {}{}  loss {:.4f}{}  {}  {} tok/s  norm {:.3f}  lr {:.2e}  forecast {}",
                  m.step, total_steps_ > 0 ? fmt::format("/{}", total_steps_) : "", m.loss, left,
                  format_seconds(m.step_time), format_count(m.tokens_per_second), m.grad_norm, m.lr,
                  format_seconds(m.forecast));
  if (!bar_) return log_info(line);
  show_bar(line, m.step);
  if (due) log_to_file(line);
}

// One line, over the one before it: cut where it would wrap.
void StepLog::show_bar(std::string line, std::int64_t step) {
  if (total_steps_ > 0) {
    constexpr std::int64_t kWidth = 20;
    const std::int64_t done = kWidth * step / total_steps_;
    line = "[" + std::string(static_cast<std::size_t>(done), '=') +
           std::string(static_cast<std::size_t>(kWidth - done), ' ') + "] " + line;
  }
  line.resize(std::min(line.size(), terminal_width() - 1));
  const bool last = step == total_steps_;
  std::fprintf(stderr, "\r\x1b[K%s%s", line.c_str(), last ? "\n" : "");
  bar_shown_ = !last;
}

void StepLog::say(const std::string& line) {
  if (bar_shown_) std::fputc('\n', stderr);
  bar_shown_ = false;
  log_info(line);
}

void StepLog::checkpoints(const std::vector<SavedCheckpoint>& ended) {
  const std::lock_guard lock(mutex_);
  for (const SavedCheckpoint& saved : ended) {
    if (!saved.failure.empty()) {
      metrics_.event("checkpoint_failed", {{"step", saved.step}, {"message", saved.failure}});
      log_warn(fmt::format("no checkpoint of step {}: {}; the older ones are as they were",
                           saved.step, saved.failure));
      continue;
    }
    metrics_.event("checkpoint", {{"step", saved.step},
                                  {"path", saved.path.string()},
                                  {"bytes", saved.size.value},
                                  {"pause_seconds", saved.pause.count()},
                                  {"write_seconds", saved.write_time.count()}});
    say(fmt::format("checkpoint of step {}: {} in {}, held training up {}", saved.step,
                    format_bytes(saved.size), format_seconds(saved.write_time),
                    format_seconds(saved.pause)));
    if (!saved.not_pruned.empty()) {
      log_warn(fmt::format("older checkpoints stay: {}", saved.not_pruned));
    }
    if (saved.next_every > 0) {
      log_warn(
          fmt::format("a checkpoint holds training up by {}: from here on one every {} steps; "
                      "--checkpoint.every sets it",
                      format_seconds(saved.pause), saved.next_every));
    }
  }
}

void StepLog::trace(const Timeline& timeline) {
  for (std::size_t i = 0; i < timeline.spans.size(); ++i) {
    const Span& span = timeline.spans[i];
    if (span.end <= 0) continue;  // masked
    if (trace_.empty()) trace_start_ = span.start;
    trace_.push_back(trace_span(plan_, i, span, trace_start_));
  }
}

std::vector<TraceSpan> forecast_spans(const Plan& plan) {
  std::vector<TraceSpan> spans;
  double origin = 0;
  for (const Span& span : plan.forecast.spans) origin = std::min(origin, span.start);
  for (std::size_t i = 0; i < plan.forecast.spans.size(); ++i) {
    spans.push_back(trace_span(plan, i, plan.forecast.spans[i], origin));
  }
  return spans;
}

}  // namespace sluice

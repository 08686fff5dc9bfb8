// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "devices/base/format.h"
#include "offload/plan_json.h"

namespace sluice {
namespace {

std::string bytes_or_dash(Bytes size) {
  return size.value == 0 ? std::string("-") : format_bytes(size);
}

void add_memory(const Plan& plan, std::string& text) {
  auto out = std::back_inserter(text);
  fmt::format_to(out, "  {:<10}", "tier");
  for (std::size_t role = 0; role < kRoleCount; ++role) {
    fmt::format_to(out, "{:>12}", name_of(static_cast<Role>(role)));
  }
  fmt::format_to(out, "{:>12}{:>12}\n", "total", "limit");
  for (const Tier tier : kTiers) {
    const TierUse& use = plan.tiers[index_of(tier)];
    fmt::format_to(out, "  {:<10}", name_of(tier));
    for (std::size_t role = 0; role < kRoleCount; ++role) {
      fmt::format_to(out, "{:>12}", bytes_or_dash(use.by_role[role]));
    }
    fmt::format_to(out, "{:>12}{:>12}  {}\n", format_bytes(use.peak), format_bytes(use.capacity),
                   use.source);
  }
}

void add_lanes(const Plan& plan, std::string& text) {
  auto out = std::back_inserter(text);
  const auto use = lane_use(plan.program, plan.forecast);
  const double step = plan.forecast.step_seconds;
  fmt::format_to(out, "  {:<16}{:>12}{:>9}{:>14}\n", "lane", "busy", "of step", "bytes");
  for (const Lane lane : kLanes) {
    const LaneUse& lane_use = use[index_of(lane)];
    if (plan.program.lane_size[index_of(lane)] == 0 || lane == Lane::kSave) continue;
    fmt::format_to(out, "  {:<16}{:>12}{:>8.0f}%{:>14}{}\n", name_of(lane),
                   format_seconds(Seconds{lane_use.busy_seconds}),
                   100 * lane_use.busy_seconds / step, bytes_or_dash(lane_use.bytes),
                   lane == plan.bottleneck ? "   <- binds" : "");
  }
}

template <typename T>
std::string summary(const std::vector<T>& values) {
  std::string text;
  for (std::size_t i = 0; i < values.size();) {
    std::size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    text += fmt::format("{}{} x{}", text.empty() ? "" : ", ", name_of(values[i]), end - i);
    i = end;
  }
  return text;
}

// "1 layer", "2 layers".
std::string counted(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Of the layers between the first and the last, which are the blocks of a model.
std::string recomputed(const std::vector<bool>& layers) {
  const auto blocks = static_cast<std::int64_t>(layers.size()) - 2;
  const auto count = blocks < 1 ? 0 : std::count(layers.begin() + 1, layers.end() - 1, true);
  return count == 0 ? "none" : fmt::format("{} of {}", count, counted(blocks, "block"));
}

std::string life_of_drive(double days) {
  return days < 2 ? counted(std::llround(std::ceil(24 * days)), "hour")
                  : counted(std::llround(days), "day");
}

void add_decisions(const Plan& plan, std::string& text) {
  auto out = std::back_inserter(text);
  const Placement& p = plan.placement;
  fmt::format_to(out, "  micro-batch {} x {}, wave {}, updates {}, recompute {}\n",
                 counted(p.sequences, "sequence"), plan.workload.micro_batches, p.wave,
                 p.deferred ? "deferred" : "during backward", recomputed(p.recompute));
  fmt::format_to(out, "  weights: {}\n  gradients: {}\n  optimizer: {}\n", summary(p.weights),
                 summary(p.gradients), summary(p.states));
  fmt::format_to(out, "  fetch {} ahead, drain {} late, segments of {}, {} operations\n",
                 counted(p.fetch_ahead, "layer"), p.drain_late,
                 format_bytes(segment_layout(p.segment_elements, plan.workload.moments).size),
                 plan.program.operations.size());
}

}  // namespace

std::string describe(const Plan& plan, const Machine& machine) {
  std::string text;
  auto out = std::back_inserter(text);
  const double step = plan.forecast.step_seconds;
  fmt::format_to(out, "plan: {}, {} parameters, on {} ({})\n", plan.workload.name,
                 format_count(static_cast<double>(plan.workload.parameters())), machine.name,
                 machine.provenance);
  add_memory(plan, text);
  add_decisions(plan, text);
  add_lanes(plan, text);
  fmt::format_to(
      out, "  forecast: {} a step, {} tokens/s; compute alone {}; bound of this placement {}\n",
      format_seconds(Seconds{step}),
      format_count(static_cast<double>(plan.workload.tokens_per_step().value) / step),
      format_seconds(Seconds{plan.overlap_bound_seconds}),
      format_seconds(Seconds{plan.phase_bound_seconds}));
  fmt::format_to(out, "  exact clipping costs {}\n",
                 plan.clip_cost_seconds > 1e-6 * step  // less is rounding of the forecast
                     ? format_seconds(Seconds{plan.clip_cost_seconds}) + " a step"
                     : "nothing");
  if (plan.storage_written_per_step.value > 0) {
    const double per_day = static_cast<double>(plan.storage_written_per_step.value) / step * 86400;
    fmt::format_to(
        out, "  writes {} to storage a step, {} a day: a drive rated for 600 TB lasts {}\n",
        format_bytes(plan.storage_written_per_step),
        format_bytes(Bytes{static_cast<std::int64_t>(per_day)}), life_of_drive(600e12 / per_day));
  }
  if (plan.placement.save) {
    fmt::format_to(out,
                   "  a checkpoint is {}, takes {} beside the steps, and holds them up by {}\n",
                   format_bytes(plan.save.size), format_seconds(Seconds{plan.save.seconds}),
                   format_seconds(Seconds{plan.save.pause_seconds}));
  }
  for (const std::string& line : plan.advice) fmt::format_to(out, "  faster with {}\n", line);
  if (plan.advice.empty()) fmt::format_to(out, "  nothing within reach would make it faster\n");
  return text;
}

std::string describe(const Infeasible& infeasible) {
  std::string text = fmt::format(
      "does not fit: {} memory needs {}, limit {} ({}), short of {} ({} bytes)\n",
      name_of(infeasible.tier), format_bytes(infeasible.needed), format_bytes(infeasible.capacity),
      infeasible.source, format_bytes(infeasible.missing()), infeasible.missing().value);
  for (const Remedy& remedy : infeasible.remedies) {
    text += remedy.missing.value > 0 ? fmt::format("  {}: not enough alone, still short of {}\n",
                                                   remedy.change, format_bytes(remedy.missing))
                                     : fmt::format("  {}: fits, at most {} a step\n", remedy.change,
                                                   format_seconds(Seconds{remedy.step_seconds}));
  }
  return text;
}

}  // namespace sluice

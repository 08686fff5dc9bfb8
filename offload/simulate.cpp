// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/simulate.h"

#include <algorithm>
#include <limits>

#include "devices/base/error.h"
#include "offload/operands.h"

namespace sluice {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

// What runs on one lane.
struct LaneState {
  std::vector<std::int32_t> order;  // operations of this lane
  std::int64_t next = 0;            // counts over iterations
  bool running = false;
  double remaining = 0;  // seconds of work at full rate
  double rate = 1;
  double start = 0;
  Demand demand;  // of what runs
};

class Simulator {
 public:
  Simulator(const Program& program, const std::vector<Waits>& waits, const CostModel& costs,
            const SimulateOptions& options)
      : program_(program),
        waits_(waits),
        costs_(costs),
        options_(options),
        capacity_(costs.capacity()) {
    for (std::size_t i = 0; i < program.operations.size(); ++i) {
      lanes_[index_of(program.operations[i].lane)].order.push_back(static_cast<std::int32_t>(i));
      seconds_.push_back(costs.seconds(program, program.operations[i]));
      demands_.push_back(costs.demand(program.operations[i]));
    }
  }

  Timeline run() {
    observed_ = options_.warm_up;
    timeline_.spans.resize(program_.operations.size());
    go(options_.warm_up + 2);
    const auto at = static_cast<std::size_t>(observed_);
    timeline_.step_seconds = report_[at] - report_[at - 1];
    // The step begins where the one before reported.
    for (Span& span : timeline_.spans) {
      span.start -= report_[at - 1];
      span.end -= report_[at - 1];
    }
    return std::move(timeline_);
  }

  SaveForecast save(double step_seconds) {
    saved_ = options_.warm_up;
    timeline_.spans.resize(program_.operations.size());
    // The save of a deferred update runs one iteration later, what waits for it another.
    constexpr int kAfter = 3;
    go(saved_ + kAfter + 1);
    const auto first = static_cast<std::size_t>(saved_ - 1);
    const double elapsed = report_[first + kAfter + 1] - report_[first];
    SaveForecast forecast{.pause_seconds = std::max(0.0, elapsed - (kAfter + 1) * step_seconds)};
    for (const Operation& operation : program_.operations) {
      if (operation.kind != OperationKind::kSave) continue;
      forecast.size += program_.accesses_of(operation)[SaveOperands::kState].size;
    }
    forecast.seconds = save_end_ - save_start_;
    return forecast;
  }

 private:
  void go(int iterations) {
    iterations_ = iterations;
    report_.assign(static_cast<std::size_t>(iterations), 0);
    const std::int64_t total = static_cast<std::int64_t>(program_.operations.size()) * iterations;
    for (std::int64_t done = 0; done < total;) {
      start_ready();
      done += advance();
    }
  }

  // Whether the operation that `state` is at does nothing: the state of its step is not saved.
  bool skipped(const LaneState& state) const {
    const Operation& operation = program_.operations[static_cast<std::size_t>(current(state))];
    return operation.for_save && iteration_of(state) - operation.stage != saved_;
  }
  static int iteration_of(const LaneState& state) {
    return static_cast<int>(state.next / static_cast<std::int64_t>(state.order.size()));
  }

  bool ready(Lane lane) const {
    const LaneState& state = lanes_[index_of(lane)];
    const auto size = static_cast<std::int64_t>(state.order.size());
    if (state.running || size == 0 || state.next >= size * iterations_) return false;
    const std::int64_t iteration = state.next / size;
    const std::int32_t operation = state.order[static_cast<std::size_t>(state.next % size)];
    for (const Lane other : kLanes) {
      const LaneState& pred = lanes_[index_of(other)];
      const auto pred_size = static_cast<std::int64_t>(pred.order.size());
      if (pred.next < (iteration - 1) * pred_size) return false;  // iteration - 2 is done
      const std::int32_t latest =
          waits_[static_cast<std::size_t>(operation)].latest[index_of(other)];
      if (latest != Waits::kNone && pred.next < iteration * pred_size + latest + 1) return false;
    }
    if (!options_.serial) return true;
    const auto n = static_cast<std::int64_t>(program_.operations.size());
    return serial_next_ == iteration * n + operation;
  }

  void start_ready() {
    bool started = false;
    for (const Lane lane : kLanes) {
      if (!ready(lane)) continue;
      LaneState& state = lanes_[index_of(lane)];
      state.running = true;
      state.start = now_;
      state.demand = skipped(state) ? Demand{} : demands_[static_cast<std::size_t>(current(state))];
      state.remaining = skipped(state) ? 0 : seconds_[static_cast<std::size_t>(current(state))];
      started = true;
    }
    if (started) share();
  }

  std::int32_t current(const LaneState& state) const {
    return state.order[static_cast<std::size_t>(state.next %
                                                static_cast<std::int64_t>(state.order.size()))];
  }

  // Each operation runs at the least of 1 and capacity / summed demand over what it uses.
  void share() {
    Demand sum;
    for (const LaneState& state : lanes_) {
      if (!state.running) continue;
      const Demand& demand = state.demand;
      sum.cores += demand.cores;
      sum.dram += demand.dram;
      sum.link += demand.link;
      sum.disk += demand.disk;
    }
    const auto limit = [](double demand, double total, double capacity) {
      return demand > 0 && total > capacity ? capacity / total : 1.0;
    };
    for (LaneState& state : lanes_) {
      if (!state.running) continue;
      const Demand& demand = state.demand;
      state.rate = std::min({limit(demand.cores, sum.cores, capacity_.cores),
                             limit(demand.dram, sum.dram, capacity_.dram),
                             limit(demand.link, sum.link, capacity_.link),
                             limit(demand.disk, sum.disk, capacity_.disk)});
    }
  }

  // To the next completion; returns how many operations completed.
  int advance() {
    double step = kForever;
    for (const LaneState& state : lanes_) {
      if (state.running) step = std::min(step, state.remaining / state.rate);
    }
    SLUICE_CHECK(step < kForever);  // the least unfinished operation can always run
    now_ += step;
    int completed = 0;
    for (LaneState& state : lanes_) {
      if (!state.running) continue;
      state.remaining -= step * state.rate;
      if (state.remaining > 1e-12) continue;
      complete(state);
      ++completed;
    }
    if (completed > 0) share();
    return completed;
  }

  void complete(LaneState& state) {
    const std::int32_t operation = current(state);
    const int iteration = iteration_of(state);
    const Operation& op = program_.operations[static_cast<std::size_t>(operation)];
    if (iteration == observed_) {
      timeline_.spans[static_cast<std::size_t>(operation)] = {state.start, now_};
    }
    if (op.kind == OperationKind::kSave && !skipped(state)) {
      if (save_end_ == 0) save_start_ = state.start;
      save_end_ = now_;
    }
    if (op.kind == OperationKind::kReport) report_[static_cast<std::size_t>(iteration)] = now_;
    state.running = false;
    ++state.next;
    ++serial_next_;
  }

  const Program& program_;
  const std::vector<Waits>& waits_;
  const CostModel& costs_;
  SimulateOptions options_;
  Demand capacity_;
  std::array<LaneState, kLaneCount> lanes_;
  std::vector<double> seconds_;
  std::vector<Demand> demands_;
  std::vector<double> report_;  // end of each iteration's report
  std::int64_t iterations_ = 0;
  std::int64_t serial_next_ = 0;
  int observed_ = -1;
  // The iteration whose step's state is saved. Operations of iteration 0 may be of step -1.
  static constexpr int kNothingSaved = -2;
  int saved_ = kNothingSaved;
  double save_start_ = 0, save_end_ = 0;
  double now_ = 0;
  Timeline timeline_;
};

}  // namespace

Timeline simulate(const Program& program, const std::vector<Waits>& waits, const CostModel& costs,
                  const SimulateOptions& options) {
  return Simulator(program, waits, costs, options).run();
}

SaveForecast simulate_save(const Program& program, const std::vector<Waits>& waits,
                           const CostModel& costs, double step_seconds, bool serial) {
  if (program.lane_size[index_of(Lane::kSave)] == 0) return {};
  return Simulator(program, waits, costs, {.serial = serial, .warm_up = 2}).save(step_seconds);
}

std::array<LaneUse, kLaneCount> lane_use(const Program& program, const Timeline& timeline) {
  std::array<LaneUse, kLaneCount> use;
  std::array<double, kLaneCount> busy_until;
  busy_until.fill(-kForever);
  // Lanes start their operations in program order. A storage lane has several in flight:
  // what they share is counted once.
  for (std::size_t i = 0; i < program.operations.size(); ++i) {
    const Operation& operation = program.operations[i];
    const Span& span = timeline.spans[i];
    LaneUse& lane = use[index_of(operation.lane)];
    double& until = busy_until[index_of(operation.lane)];
    lane.busy_seconds += std::max(0.0, span.end - std::max(span.start, until));
    until = std::max(until, span.end);
    if (operation.for_save && span.end <= span.start) continue;  // nothing was saved
    if (operation.kind != OperationKind::kMove && operation.kind != OperationKind::kSave) continue;
    lane.bytes += program.accesses[operation.first_access + MoveOperands::kFrom].size;
  }
  return use;
}

}  // namespace sluice

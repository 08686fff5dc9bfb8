// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "devices/base/error.h"
#include "devices/base/thread_priority.h"
#include "offload/execute.h"
#include "offload/iterations.h"
#include "offload/lane_progress.h"
#include "offload/operation_runner.h"

namespace sluice {
namespace {

// Operations that a storage lane keeps in flight.
constexpr std::int64_t kStorageDepth = 4;

}  // namespace

class Executor::Impl {
 public:
  Impl(const Workload& workload, const Program& program, std::vector<Waits> waits,
       std::span<const std::unique_ptr<LayerProgram>> layers, const Resources& resources,
       ExecuteOptions options)
      : workload_(workload),
        program_(program),
        waits_(std::move(waits)),
        options_(std::move(options)),
        resources_(resources),
        runner_(workload, program, layers, resources, options_) {
    for (std::size_t i = 0; i < program.operations.size(); ++i) {
      lanes_[index_of(program.operations[i].lane)].order.push_back(static_cast<std::int32_t>(i));
    }
    for (auto& spans : spans_) spans.resize(program.operations.size());
    if (program.lane_size[index_of(Lane::kSave)] == 0) options_.sink = nullptr;
    for (const Lane lane : kLanes) {
      LaneState& state = lanes_[index_of(lane)];
      state.lane = lane;
      state.size = static_cast<std::int64_t>(state.order.size());
      state.in_flight.impl = this;
      state.in_flight.state = &state;
      if (has_depth(lane)) state.in_flight.done.resize(kStorageDepth);
      if (!is_device_lane(lane)) continue;
      constexpr std::array kKinds = {QueueKind::kCompute, QueueKind::kHostToDevice,
                                     QueueKind::kDeviceToHost};
      state.queue = resources.accelerator.create_queue(
          kKinds[index_of(lane)],
          static_cast<std::size_t>(2 * Iterations::kKept * std::max<std::int64_t>(state.size, 1) +
                                   2));
      if (lane != Lane::kCompute) continue;
      state.queue->lend(runner_.queue_scratch());
      runner_.rehearse(*state.queue);
    }
    SLUICE_CHECK(lanes_[index_of(Lane::kStorageRead)].size +
                         lanes_[index_of(Lane::kStorageWrite)].size ==
                     0 ||
                 resources.memory.storage != nullptr);
  }

  void run(std::int64_t first, StepListener& listener) {
    begin_run(first, listener);
    std::vector<std::thread> threads;
    // A thread that cannot be started is a failure like any other: the others end with it.
    guarded(nullptr, [&] {
      start_lanes(threads);
      collect();
    });
    for (std::thread& thread : threads) thread.join();
    for (LaneState& state : lanes_) settle(state);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

  std::array<Bytes, kTierCount> touched() const { return runner_.touched(); }

 private:
  struct LaneState;

  void start_lanes(std::vector<std::thread>& threads) {
    if (options_.serial) {
      threads.emplace_back([this] { guarded(nullptr, [this] { run_serially(); }); });
      return;
    }
    for (LaneState& state : lanes_) {
      if (state.size == 0) continue;
      threads.emplace_back([this, &state] { guarded(&state, [&] { run_lane(state); }); });
    }
  }

  // Completions of a storage lane: out of order in, a prefix out.
  struct InFlight final : Storage::Listener {
    void completed(std::uint64_t cookie, std::exception_ptr error) noexcept override {
      impl->transfer_done(*state, static_cast<std::int64_t>(cookie), error);
      started.fetch_sub(1, std::memory_order_acq_rel);
      started.notify_all();
    }
    std::atomic<int> started{0};  // and not completed
    Impl* impl = nullptr;
    LaneState* state = nullptr;
    std::mutex mutex;
    std::vector<bool> done;  // by sequence number modulo depth
    std::int64_t prefix = 0;
  };

  struct LaneState {
    Lane lane = Lane::kCompute;
    std::vector<std::int32_t> order;  // operations, in program order
    std::int64_t size = 0;
    std::int32_t current = -1;                    // operation that is run or issued
    std::unique_ptr<Queue> queue;                 // device lanes
    Queue::Ticket first_ticket = 0;               // issued before this run
    Progress progress;                            // operations issued (device lanes) or done
    std::array<std::int64_t, kLaneCount> seen{};  // what this lane knows of the others
    InFlight in_flight;
  };

  void begin_run(std::int64_t first, StepListener& listener) {
    listener_ = &listener;
    failure_ = nullptr;
    collected_.reset();
    for (LaneState& state : lanes_) {
      state.progress.reset();
      state.seen.fill(0);
      state.in_flight.prefix = 0;
      std::fill(state.in_flight.done.begin(), state.in_flight.done.end(), false);
      if (state.queue) state.first_ticket = state.queue->mark();
    }
    iterations_.begin(first);
  }

  template <typename Body>
  void guarded(const LaneState* state, Body body) {
    try {
      body();
    } catch (const Error& error) {
      const bool known = state != nullptr && state->current >= 0;
      fail(known ? located(error, *state, state->current) : std::current_exception());
    } catch (...) {
      fail(std::current_exception());
    }
  }

  // The error, with what was being done.
  std::exception_ptr located(const Error& error, const LaneState& state,
                             std::int32_t operation) const {
    return std::make_exception_ptr(Error(
        error.kind(),
        fmt::format("{} ({}, lane {})", error.what(),
                    label_of(workload_, program_.operations[static_cast<std::size_t>(operation)]),
                    name_of(state.lane))));
  }

  void fail(std::exception_ptr error) {
    {
      const std::lock_guard lock(failure_mutex_);
      if (failure_ == nullptr) failure_ = error;
    }
    iterations_.fail();
    collected_.poison();
    for (LaneState& state : lanes_) state.progress.poison();
    if (options_.sink != nullptr) options_.sink->abandon();
  }

  void run_lane(LaneState& state) {
    if (state.lane == Lane::kSave) give_way();  // a step has time for it; it waits where it has not
    for (std::int64_t iteration = 0; iterations_.enter(iteration); ++iteration) {
      collected_.wait_for(iteration - 2);
      for (std::int64_t position = 0; position < state.size; ++position) {
        wait_for_predecessors(state, iteration, position);
        if (iterations_.failed()) return;
        execute(state, iteration, position);
      }
    }
  }

  void run_serially() {
    for (std::int64_t iteration = 0; iterations_.enter(iteration); ++iteration) {
      collected_.wait_for(iteration - 2);
      for (std::size_t i = 0; i < program_.operations.size(); ++i) {
        LaneState& state = lanes_[index_of(program_.operations[i].lane)];
        const std::int64_t position = program_.lane_position[i];
        if (iterations_.failed()) return;
        execute(state, iteration, position);
        wait_done(state, iteration * state.size + position + 1);
      }
    }
  }

  void wait_for_predecessors(LaneState& state, std::int64_t iteration, std::int64_t position) {
    const Waits& waits =
        waits_[static_cast<std::size_t>(state.order[static_cast<std::size_t>(position)])];
    for (LaneState& other : lanes_) {
      const std::size_t index = index_of(other.lane);
      std::int64_t needed = 0;
      // All of iteration - 2 is done before anything of this one starts.
      if (position == 0 && &other != &state) needed = (iteration - 1) * other.size;
      if (waits.latest[index] != Waits::kNone) {
        needed = std::max(needed, iteration * other.size + waits.latest[index] + 1);
      }
      if (needed <= state.seen[index]) continue;
      if (is_device_lane(other.lane) && is_device_lane(state.lane)) {
        // The device waits, not this thread.
        other.progress.wait_for(needed);
        if (iterations_.failed()) return;
        state.queue->wait(*other.queue, end_ticket(other, needed));
      } else {
        wait_done(other, needed);
      }
      state.seen[index] = needed;
    }
  }

  // The ticket behind the first `operations` of this run.
  static Queue::Ticket end_ticket(const LaneState& state, std::int64_t operations) {
    return state.first_ticket + 2 * static_cast<Queue::Ticket>(operations);
  }

  void wait_done(LaneState& state, std::int64_t operations) {
    state.progress.wait_for(operations);
    if (is_device_lane(state.lane) && !iterations_.failed() && operations > 0) {
      state.queue->synchronize(end_ticket(state, operations));
    }
  }

  void execute(LaneState& state, std::int64_t iteration, std::int64_t position) {
    const auto index = static_cast<std::size_t>(state.order[static_cast<std::size_t>(position)]);
    const Operation& operation = program_.operations[index];
    state.current = static_cast<std::int32_t>(index);
    const std::int64_t sequence = iteration * state.size + position;
    const std::int64_t step = iterations_.step_of(iteration, operation);
    const bool runs = !iterations_.masked(iteration, operation);
    if (runs && options_.before) options_.before(index, step);
    Span& span = spans_[static_cast<std::size_t>(iteration % Iterations::kKept)][index];
    if (is_device_lane(state.lane)) {
      state.queue->mark();
      if (runs) runner_.issue(operation, step, *state.queue);
      state.queue->mark();
      state.progress.raise_to(sequence + 1);
    } else if (has_depth(state.lane)) {
      state.progress.wait_for(sequence + 1 - kStorageDepth);
      span = {steady_seconds().count(), 0};
      if (iterations_.failed()) return;
      if (runs) {
        state.in_flight.started.fetch_add(1, std::memory_order_relaxed);
        runner_.transfer(operation, state.in_flight, static_cast<std::uint64_t>(sequence));
      } else {
        transfer_done(state, sequence, nullptr);
      }
    } else {
      span.start = steady_seconds().count();
      if (runs) run_on_host_lane(operation, step, iteration);
      if (runs && state.lane == Lane::kSave && position + 1 == state.size) {
        options_.sink->end(step);
      }
      span.end = steady_seconds().count();
      state.progress.raise_to(sequence + 1);
    }
  }

  void run_on_host_lane(const Operation& operation, std::int64_t step, std::int64_t iteration) {
    if (operation.kind == OperationKind::kReport && options_.sink != nullptr) {
      options_.sink->wait_until_safe(step);
      if (iterations_.failed()) return;
    }
    const bool more = runner_.run(operation, step, *listener_);
    if (operation.kind != OperationKind::kPrepare) return;
    using Mode = Iterations::Mode;
    const std::int64_t next = iteration + 1;
    const bool saved =
        more && options_.sink != nullptr && options_.sink->wants(iterations_.step_of(next));
    iterations_.publish(next, more ? Mode::kStep : Mode::kAfter, saved);
  }

  void transfer_done(LaneState& state, std::int64_t sequence, std::exception_ptr error) {
    const auto iteration = static_cast<std::size_t>(sequence / state.size % Iterations::kKept);
    const std::int32_t operation = state.order[static_cast<std::size_t>(sequence % state.size)];
    if (error != nullptr) {
      // `current` is a later one by now.
      try {
        std::rethrow_exception(error);
      } catch (const Error& known) {
        return fail(located(known, state, operation));
      } catch (...) {
        return fail(error);
      }
    }
    const std::lock_guard lock(state.in_flight.mutex);
    spans_[iteration][static_cast<std::size_t>(operation)].end = steady_seconds().count();
    std::vector<bool>& done = state.in_flight.done;
    done[static_cast<std::size_t>(sequence % kStorageDepth)] = true;
    std::int64_t& prefix = state.in_flight.prefix;
    while (done[static_cast<std::size_t>(prefix % kStorageDepth)]) {
      done[static_cast<std::size_t>(prefix % kStorageDepth)] = false;
      ++prefix;
    }
    state.progress.raise_to(prefix);
  }

  // Follows the lanes: reads the spans of each iteration when all of it is done.
  void collect() {
    const std::size_t last = last_of_step();
    double ended = 0;
    Timeline timeline;
    for (std::int64_t iteration = 0; iterations_.enter(iteration); ++iteration) {
      timeline.spans.assign(program_.operations.size(), {});
      for (LaneState& state : lanes_) {
        wait_done(state, (iteration + 1) * state.size);
        if (iterations_.failed()) return;
      }
      for (std::size_t i = 0; i < program_.operations.size(); ++i) {
        const Operation& operation = program_.operations[i];
        if (iterations_.masked(iteration, operation)) continue;
        timeline.spans[i] = span_of(i, iteration);
      }
      const bool step = iterations_.is_step(iteration);
      if (step) {
        timeline.step_seconds = ended > 0 ? timeline.spans[last].end - ended : 0;
        ended = timeline.spans[last].end;
      }
      collected_.raise_to(iteration + 1);
      if (step) listener_->completed(iterations_.step_of(iteration), timeline);
    }
  }

  // The operation with which a step ends: the compute lane's last one, where there is any. Reports
  // come from a lane that others keep waiting, now longer, now shorter.
  std::size_t last_of_step() const {
    const std::vector<Operation>& operations = program_.operations;
    std::size_t last = 0;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const bool computes = operations[i].lane == Lane::kCompute;
      if (operations[i].stage == 0 && (computes || operations[last].lane != Lane::kCompute)) {
        last = i;
      }
    }
    return last;
  }

  Span span_of(std::size_t index, std::int64_t iteration) {
    LaneState& state = lanes_[index_of(program_.operations[index].lane)];
    if (!is_device_lane(state.lane)) {
      return spans_[static_cast<std::size_t>(iteration % Iterations::kKept)][index];
    }
    const Queue::Ticket end =
        end_ticket(state, iteration * state.size + program_.lane_position[index] + 1);
    return {state.queue->time_of(end - 1).count(), state.queue->time_of(end).count()};
  }

  // Leaves nothing in flight, whatever happened.
  void settle(LaneState& state) {
    for (int left; (left = state.in_flight.started.load()) > 0;) {
      state.in_flight.started.wait(left);
    }
    if (state.queue) {
      guarded(&state, [&] { state.queue->synchronize(state.queue->mark()); });
    }
  }

  const Workload& workload_;
  const Program& program_;
  std::vector<Waits> waits_;
  ExecuteOptions options_;
  Resources resources_;
  OperationRunner runner_;

  std::array<std::vector<Span>, Iterations::kKept> spans_;
  Iterations iterations_;
  Progress collected_;  // iterations whose spans were read
  StepListener* listener_ = nullptr;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::array<LaneState, kLaneCount> lanes_;
};

Executor::Executor(const Workload& workload, const Program& program, std::vector<Waits> waits,
                   std::span<const std::unique_ptr<LayerProgram>> layers,
                   const Resources& resources, ExecuteOptions options)
    : impl_(std::make_unique<Impl>(workload, program, std::move(waits), layers, resources,
                                   std::move(options))) {}

Executor::~Executor() = default;

void Executor::run(std::int64_t first, StepListener& listener) { impl_->run(first, listener); }

std::array<Bytes, kTierCount> Executor::touched() const { return impl_->touched(); }

}  // namespace sluice

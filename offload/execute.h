// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The interpreter that does the work: one thread per lane carries a Program out,
// step after step, on real memory.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "devices/accelerator.h"
#include "devices/storage.h"
#include "devices/workers.h"
#include "offload/dependencies.h"
#include "offload/program.h"
#include "offload/state_sink.h"
#include "offload/timeline.h"
#include "offload/workload.h"

namespace sluice {

// Where the bytes of the tiers are. Borrowed; storage may be null if unused.
struct Memory {
  std::byte* device = nullptr;
  std::byte* host = nullptr;
  Storage* storage = nullptr;
};

// What executes. Borrowed by every Executor made from it.
struct Resources {
  Accelerator& accelerator;
  const KernelTable& kernels;
  Workers& host_workers;  // of the host_compute lane
  Memory memory;
};

// AdamW's numbers for one step.
struct UpdateRule {
  float learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
};

struct StepReport {
  std::int64_t step = 0;
  std::span<const float> losses;  // summed over tokens, by micro-batch
  NormResult norm;                // training
  std::span<const float> logits;  // of a forward program that computes them
};

// The run's side of an Executor.
// Threads: prepare, report and digest are called by the host_compute lane, in step
// order; completed by the caller of run().
class StepListener {
 public:
  virtual ~StepListener() = default;
  // Fills the batch (BatchLayout) of `step`, or returns false: there is no such
  // step, and the run ends after the step before. Called while that one is in its last
  // micro-batch's backward.
  virtual bool prepare(std::int64_t step, std::span<std::byte> batch) = 0;
  virtual void report(const StepReport& report) = 0;
  // Digest of the state after `step`, if the placement asks for it.
  virtual void digest(std::int64_t step, std::uint64_t value) {
    static_cast<void>(step);
    static_cast<void>(value);
  }
  // All operations of the iteration that computed `step` are done. Spans are on the
  // clock of steady_seconds().
  virtual void completed(std::int64_t step, const Timeline& timeline) {
    static_cast<void>(step);
    static_cast<void>(timeline);
  }
};

struct ExecuteOptions {
  bool serial = false;                                // one operation at a time, in program order
  float clip = 0;                                     // of the global norm; 0: none
  std::function<UpdateRule(std::int64_t step)> rule;  // training only
  StateSink* sink = nullptr;                          // of a Program with saves; or none
  // Tests: called by the lane before an operation is run or issued.
  std::function<void(std::size_t operation, std::int64_t step)> before;
};

// Ownership  borrows everything it is given, for its life.
// Threads    one run() at a time; several Executors may share memory if they run
//            one after the other.
class Executor {
 public:
  Executor(const Workload& workload, const Program& program, std::vector<Waits> waits,
           std::span<const std::unique_ptr<LayerProgram>> layers, const Resources& resources,
           ExecuteOptions options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs steps from `first` until listener.prepare() says no, then drains: all
  // updates of the last step are done and the state is whole.
  // Errors: the first failure of any lane, with operation, layer and lane, after
  // all lanes have stopped.
  void run(std::int64_t first, StepListener& listener);

  // Highest byte of each tier that any operation has touched so far.
  std::array<Bytes, kTierCount> touched() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice

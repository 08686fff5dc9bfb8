// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What each kind of operation does, given memory: the only place where a Program
// meets kernels. Knows nothing of lanes, threads and waiting.

#include <array>

#include "offload/execute.h"
#include "offload/operands.h"

namespace sluice {

class OperationRunner {
 public:
  OperationRunner(const Workload& workload, const Program& program,
                  std::span<const std::unique_ptr<LayerProgram>> layers, const Resources& resources,
                  const ExecuteOptions& options);

  // Lets libraries choose at the start what the layers' kernels will run.
  void rehearse(Queue& queue);

  // Enqueues an operation of a device lane. Called by that lane's thread.
  void issue(const Operation& operation, std::int64_t step, Queue& queue);

  // Runs an operation of the host_compute or the save lane. False: prepare() found no step.
  bool run(const Operation& operation, std::int64_t step, StepListener& listener);

  // Starts the transfer of a storage lane's operation.
  void transfer(const Operation& operation, Storage::Listener& listener, std::uint64_t cookie);

  // Where the Program keeps the scratch of the queue that computes; counts as touched.
  Scratch queue_scratch();

  std::array<Bytes, kTierCount> touched() const;

 private:
  // Highest byte touched, by lane, so that lanes do not share cache lines.
  struct alignas(64) Touched {
    std::array<std::int64_t, kTierCount> end{};
  };

  const Access& operand(const Operation& operation, std::size_t index) const {
    return program_.accesses[operation.first_access + index];
  }
  // Address of an operand in device or host memory; null where it is absent.
  std::byte* address(const Operation& operation, std::size_t index);
  template <typename T>
  T* address_as(const Operation& operation, std::size_t index) {
    return reinterpret_cast<T*>(address(operation, index));
  }

  void call_layer(const Operation& operation, const KernelTable& kernels, Queue& queue);
  void round(const Operation& operation, Queue& queue);
  template <typename Run, typename Hash>
  void update(const Operation& operation, std::int64_t step, Run run, Hash hash);
  void save(const Operation& operation, std::int64_t step);
  void report(const Operation& operation, std::int64_t step, StepListener& listener);

  const Workload& workload_;
  const Program& program_;
  std::span<const std::unique_ptr<LayerProgram>> layers_;
  Resources resources_;
  const ExecuteOptions& options_;
  std::array<Touched, kLaneCount> touched_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/cost_model.h"

#include <algorithm>

#include "offload/operands.h"

namespace sluice {
namespace {

// Small operations of the host: filling a batch, reading a few scalars.
constexpr double kHostOperation = 20e-6;

}  // namespace

CostModel::CostModel(const Machine& machine, const Workload& workload) : machine_(machine) {
  for (const LayerSpec& layer : workload.layers) {
    forward_.push_back(pass(layer.forward, workload));
    recompute_.push_back(pass(layer.recompute.value_or(layer.forward), workload));
    backward_.push_back(pass(layer.backward, workload));
  }
  for (const FlatParameter& flat : workload.flats) flat_elements_.push_back(flat.count);
  // Master and both moments read and written, gradient read, weight written.
  update_traffic_ =
      8 + 4 * size_of(workload.moments) + size_of(workload.gradient) + size_of(workload.compute);
}

double CostModel::pass(const PassCost& cost, const Workload& workload) const {
  double total = elementwise(cost.elementwise) + cost.launches * machine_.launch.count();
  for (const MatmulCost& matmul : cost.matmuls) {
    const double rate = gemm_rate(machine_, workload.compute, matmul.m, matmul.n, matmul.k);
    total += 2.0 * matmul.m * matmul.n * matmul.k * matmul.repeat / rate;
  }
  return total + cost.attention_flops / attention_rate(machine_, workload.compute,
                                                       static_cast<double>(workload.length));
}

double CostModel::move(Lane lane, Bytes size) const {
  const auto time = [size](BytesPerSecond rate, Seconds latency) {
    return (latency + size / rate).count();
  };
  switch (lane) {
    case Lane::kHostToDevice:
      return copy_time(machine_, QueueKind::kHostToDevice, size).count();
    case Lane::kDeviceToHost:
      return copy_time(machine_, QueueKind::kDeviceToHost, size).count();
    case Lane::kStorageRead:
      return time(machine_.storage_read, machine_.storage_latency);
    case Lane::kStorageWrite:
    case Lane::kSave:
      return time(machine_.storage_write, machine_.storage_latency);
    case Lane::kCompute:
      return elementwise(size * 2);
    case Lane::kHostCompute:
      return kHostOperation;
  }
  return 0;
}

double CostModel::update(std::int64_t elements, bool on_device) const {
  const double traffic = static_cast<double>(elements * update_traffic_);
  return on_device ? machine_.launch.count() + traffic / machine_.elementwise.value
                   : traffic / machine_.host_adam.value;
}

double CostModel::elementwise(Bytes traffic) const {
  return static_cast<double>(traffic.value) / machine_.elementwise.value;
}

double CostModel::seconds(const Program& program, const Operation& operation) const {
  const auto size = [&](std::size_t operand) {
    return program.accesses[operation.first_access + operand].size;
  };
  const double launch = machine_.launch.count();
  switch (operation.kind) {
    case OperationKind::kForward:
      return forward(operation.layer);
    case OperationKind::kRecompute:
      return recompute(operation.layer);
    case OperationKind::kBackward:
      return backward(operation.layer);
    case OperationKind::kBegin:
    case OperationKind::kMove:
      return move(operation.lane, size(MoveOperands::kFrom));
    case OperationKind::kMerge:
      return launch + elementwise(size(MergeOperands::kTotal) * 3);
    case OperationKind::kRound:
      return launch +
             elementwise(size(RoundOperands::kAccumulator) + size(RoundOperands::kRounded) * 2);
    case OperationKind::kNorm:
      return launch + elementwise(size(NormOperands::kPartials));
    case OperationKind::kUpdate: {
      const FlatHomes& homes = program.homes[static_cast<std::size_t>(operation.flat)];
      const std::int64_t first = homes.segment_elements * operation.segment;
      const std::int64_t elements = std::min(
          homes.segment_elements, flat_elements_[static_cast<std::size_t>(operation.flat)] - first);
      return update(elements, operation.lane == Lane::kCompute);
    }
    case OperationKind::kSave:
      return move(operation.lane, size(SaveOperands::kState));
    case OperationKind::kPrepare:
    case OperationKind::kReport:
    case OperationKind::kReportDigest:
      return kHostOperation;
  }
  return 0;
}

Demand CostModel::demand(const Operation& operation) const {
  const auto cores = static_cast<double>(machine_.cores);
  // The host device computes on the cores that Adam wants, and a core makes each of its copies.
  const bool on_host = machine_.device == "host";
  const double copier = on_host ? 1 : 0;
  switch (operation.lane) {
    case Lane::kCompute:
      return {.cores = on_host ? cores : 0};
    case Lane::kHostCompute:
      return operation.kind == OperationKind::kUpdate
                 ? Demand{.cores = cores, .dram = machine_.host_adam.value}
                 : Demand{};
    case Lane::kHostToDevice:
      return {.cores = copier, .dram = machine_.host_to_device.value, .link = 1};
    case Lane::kDeviceToHost:
      return {.cores = copier, .dram = machine_.device_to_host.value, .link = 1};
    case Lane::kStorageRead:
      return {.dram = machine_.storage_read.value, .disk = 1};
    case Lane::kStorageWrite:
      return {.dram = machine_.storage_write.value, .disk = 1};
    case Lane::kSave:  // one thread sums and hands to the file system
      return {.cores = 1, .dram = machine_.storage_write.value, .disk = 1};
  }
  return {};
}

Demand CostModel::capacity() const {
  return {.cores = static_cast<double>(machine_.cores),
          .dram = machine_.memory.value,
          .link = 2 * machine_.duplex_factor,
          .disk = 2 * machine_.storage_mixed_factor};
}

}  // namespace sluice

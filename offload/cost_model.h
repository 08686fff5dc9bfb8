// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How long each operation takes alone on a machine, and what it takes away from
// others that run beside it.

#include <cstdint>
#include <vector>

#include "devices/machine_file.h"
#include "offload/program.h"
#include "offload/workload.h"

namespace sluice {

// Shared resources an operation draws on while it runs, as a rate.
struct Demand {
  double cores = 0;
  double dram = 0;  // bytes per second
  double link = 0;  // directions
  double disk = 0;  // directions
};

class CostModel {
 public:
  CostModel(const Machine& machine, const Workload& workload);

  // Seconds of one call on one micro-batch.
  double forward(int layer) const { return forward_[static_cast<std::size_t>(layer)]; }
  double recompute(int layer) const { return recompute_[static_cast<std::size_t>(layer)]; }
  double backward(int layer) const { return backward_[static_cast<std::size_t>(layer)]; }
  double move(Lane lane, Bytes size) const;
  // Adam on `elements` parameters.
  double update(std::int64_t elements, bool on_device) const;
  double elementwise(Bytes traffic) const;

  double seconds(const Program& program, const Operation& operation) const;
  Demand demand(const Operation& operation) const;
  Demand capacity() const;

  // Bytes that one update of a parameter reads and writes.
  std::int64_t update_traffic() const { return update_traffic_; }
  const Machine& machine() const { return machine_; }

 private:
  double pass(const PassCost& cost, const Workload& workload) const;

  Machine machine_;
  std::vector<double> forward_, recompute_, backward_;
  std::vector<std::int64_t> flat_elements_;
  std::int64_t update_traffic_ = 0;
};

}  // namespace sluice

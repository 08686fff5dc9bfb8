// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/schedule.h"

#include <algorithm>

namespace sluice {
namespace {

class Walk {
 public:
  explicit Walk(const Workload& workload) : micro_batches_(workload.micro_batches) {
    const std::size_t cells = workload.layers.size() * static_cast<std::size_t>(micro_batches_);
    schedule.forward_point.assign(cells, -1);
    schedule.backward_point.assign(cells, -1);
  }

  void visit(Pass pass, std::int32_t layer, std::int32_t begin, std::int32_t end) {
    const auto index = static_cast<std::int32_t>(schedule.visits.size());
    const auto first = static_cast<std::int32_t>(schedule.points.size());
    auto& table = pass == Pass::kForward ? schedule.forward_point : schedule.backward_point;
    for (std::int32_t m = begin; m < end; ++m) {
      table[static_cast<std::size_t>(layer * micro_batches_ + m)] =
          static_cast<std::int32_t>(schedule.points.size());
      schedule.points.push_back({.visit = index, .micro_batch = m});
    }
    schedule.visits.push_back({.pass = pass,
                               .layer = layer,
                               .first_point = first,
                               .last_point = first + end - begin - 1});
  }

  Schedule schedule;

 private:
  std::int32_t micro_batches_;
};

}  // namespace

std::int32_t Schedule::point_ahead(std::int32_t visit, std::int32_t ahead) const {
  return visits[static_cast<std::size_t>(std::max(0, visit - ahead))].first_point;
}

Schedule training_schedule(const Workload& workload, int wave) {
  Walk walk(workload);
  const auto layers = static_cast<std::int32_t>(workload.layers.size());
  for (std::int32_t begin = 0; begin < workload.micro_batches; begin += wave) {
    const std::int32_t end = std::min(begin + wave, workload.micro_batches);
    for (std::int32_t l = 0; l + 1 < layers; ++l) walk.visit(Pass::kForward, l, begin, end);
    for (std::int32_t l = layers - 1; l >= 0; --l) walk.visit(Pass::kBackward, l, begin, end);
  }
  return std::move(walk.schedule);
}

Schedule evaluation_schedule(const Workload& workload, int wave) {
  Walk walk(workload);
  const auto layers = static_cast<std::int32_t>(workload.layers.size());
  for (std::int32_t begin = 0; begin < workload.micro_batches; begin += wave) {
    const std::int32_t end = std::min(begin + wave, workload.micro_batches);
    for (std::int32_t l = 0; l < layers; ++l) walk.visit(Pass::kForward, l, begin, end);
  }
  return std::move(walk.schedule);
}

}  // namespace sluice

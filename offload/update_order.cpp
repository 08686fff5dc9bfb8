// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <array>

#include "offload/builder_internal.h"

// When in a step each flat parameter is updated. Lanes work in order, so a good order is one in
// which none waits for what comes late.

namespace sluice {
namespace {

// Flat parameters by the visit that needs them first.
std::vector<std::int32_t> first_visits(const BuildContext& context) {
  std::vector<std::int32_t> first(context.workload.flats.size(), -1);
  for (std::size_t v = context.schedule.visits.size(); v-- > 0;) {
    for (const int f : context.layer(context.schedule.visits[v].layer).flats) {
      first[static_cast<std::size_t>(f)] = static_cast<std::int32_t>(v);
    }
  }
  return first;
}

// Earliest deadline first among the gradients that have landed. State that lies elsewhere comes
// by a way of its own, which may be busier than Adam: each way takes its parameters in that order,
// and Adam takes them as they arrive.
class BackwardUpdates {
 public:
  BackwardUpdates(const BuildContext& context, const GradientPlan& gradients,
                  const CostModel& costs)
      : context_(context),
        gradients_(gradients),
        costs_(costs),
        first_(first_visits(context)),
        done_(context.workload.flats.size(), false) {
    double now = 0;
    const Schedule& schedule = context.schedule;
    for (const Point& point : schedule.points) {
      const Visit& visit = schedule.visits[static_cast<std::size_t>(point.visit)];
      now +=
          visit.pass == Pass::kForward ? costs.forward(visit.layer) : costs.backward(visit.layer);
      clock_.push_back(now);
    }
  }

  std::vector<UpdateSlot> order() {
    std::vector<UpdateSlot> order;
    while (order.size() < done_.size()) {
      Next next;
      for (const Way way : {kInPlace, kLink, kStorage}) {
        const Next other = next_of(way);
        if (other.flat >= 0 && (next.flat < 0 || sooner(other, next))) next = other;
      }
      const std::int32_t before = order.empty() ? 0 : order.back().moment.point;
      order.push_back({.flat = static_cast<std::int16_t>(next.flat),
                       .moment = {std::max(before, point_of(next)), Moment::kAfter,
                                  2 + static_cast<std::int32_t>(order.size())}});
      take(next);
    }
    return order;
  }

 private:
  enum Way : std::uint8_t { kInPlace, kLink, kStorage, kWays };

  struct Next {
    int flat = -1;
    Way way = kInPlace;
    double begin = 0;  // of what brings it
    double start = 0;  // of Adam, with the first segment
  };

  Way way_of(int flat) const {
    const auto i = static_cast<std::size_t>(flat);
    const Placement& p = context_.placement;
    if (p.states[i] == Tier::kStorage || p.gradients[i] == Tier::kStorage ||
        p.weights[i] == Tier::kStorage) {
      return kStorage;
    }
    return p.adam_on_device[i] && p.states[i] == Tier::kHost ? kLink : kInPlace;
  }

  // How long the way is busy with a parameter.
  double carried(int flat, Way way) const {
    const auto i = static_cast<std::size_t>(flat);
    const Placement& p = context_.placement;
    const Workload& workload = context_.workload;
    const std::int64_t count = context_.flat(flat).count;
    const std::int64_t state = segment_layout(count, workload.moments).size.value;
    if (way == kLink) return costs_.move(Lane::kHostToDevice, {state});
    if (way == kInPlace) return 0;
    const auto stored = [&](const std::vector<Tier>& homes, std::int64_t bytes) {
      return homes[i] == Tier::kStorage ? bytes : 0;
    };
    const std::int64_t both = stored(p.states, state);
    const double read = costs_.move(
        Lane::kStorageRead, {both + stored(p.gradients, count * size_of(workload.gradient))});
    const double write = costs_.move(Lane::kStorageWrite,
                                     {both + stored(p.weights, count * size_of(workload.compute))});
    return std::max({read, write, (read + write) / costs_.capacity().disk});
  }

  double& adam_free(int flat) {
    return adam_free_[context_.placement.adam_on_device[static_cast<std::size_t>(flat)] ? 1 : 0];
  }

  bool sooner(const Next& a, const Next& b) const {
    if (a.start != b.start) return a.start < b.start;
    return first_[static_cast<std::size_t>(a.flat)] < first_[static_cast<std::size_t>(b.flat)];
  }

  // The one that the way takes next.
  Next next_of(Way way) {
    Next next;
    for (int flat = 0; flat < context_.flats(); ++flat) {
      const auto i = static_cast<std::size_t>(flat);
      if (done_[i] || way_of(flat) != way) continue;
      const double landed = clock_[static_cast<std::size_t>(gradients_.landed[i])];
      const double begin = std::max(way == kInPlace ? adam_free(flat) : way_free_[way], landed);
      if (next.flat >= 0 &&
          (begin > next.begin ||
           (begin == next.begin && first_[i] >= first_[static_cast<std::size_t>(next.flat)]))) {
        continue;
      }
      next = {.flat = flat, .way = way, .begin = begin};
    }
    if (next.flat >= 0) {
      next.start = std::max(adam_free(next.flat),
                            next.begin + carried(next.flat, way) / segments(next.flat));
    }
    return next;
  }

  void take(const Next& next) {
    const auto i = static_cast<std::size_t>(next.flat);
    done_[i] = true;
    const double adam =
        costs_.update(context_.flat(next.flat).count, context_.placement.adam_on_device[i]);
    const double here = next.begin + carried(next.flat, next.way);
    way_free_[next.way] = here;
    adam_free(next.flat) = std::max(next.start + adam, here + adam / segments(next.flat));
  }

  double segments(int flat) const {
    return context_.homes[static_cast<std::size_t>(flat)].segments;
  }

  // The moment at which the lanes are expected to get to it.
  std::int32_t point_of(const Next& next) const {
    const auto reached =
        std::lower_bound(clock_.begin(), clock_.end(), next.start) - clock_.begin();
    return std::max(gradients_.landed[static_cast<std::size_t>(next.flat)],
                    std::min(static_cast<std::int32_t>(reached), context_.schedule.last()));
  }

  const BuildContext& context_;
  const GradientPlan& gradients_;
  const CostModel& costs_;
  std::vector<double> clock_;  // when each point is done, compute lane alone
  std::vector<std::int32_t> first_;
  std::vector<bool> done_;
  std::array<double, kWays> way_free_{};
  std::array<double, 2> adam_free_{};  // on the host, on the device
};

}  // namespace

std::vector<UpdateSlot> deferred_updates(const BuildContext& context) {
  const std::vector<std::int32_t> first = first_visits(context);
  std::vector<UpdateSlot> order;
  for (int f = 0; f < context.flats(); ++f) {
    const auto i = static_cast<std::size_t>(f);
    const std::int32_t hops = context.placement.weights[i] == Tier::kStorage ? 2 : 1;
    const std::int32_t lead = context.placement.fetch_ahead * hops + 1;
    order.push_back(
        {.flat = static_cast<std::int16_t>(f),
         .moment = {context.schedule.point_ahead(first[i], lead), Moment::kBefore, 2 * first[i]}});
  }
  std::stable_sort(order.begin(), order.end(), [](const UpdateSlot& a, const UpdateSlot& b) {
    return a.moment.deadline < b.moment.deadline;
  });
  return order;
}

std::vector<UpdateSlot> backward_updates(const BuildContext& context, const GradientPlan& gradients,
                                         const CostModel& costs) {
  return BackwardUpdates(context, gradients, costs).order();
}

}  // namespace sluice

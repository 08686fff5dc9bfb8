// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <bit>

#include "devices/base/error.h"
#include "offload/builder_internal.h"

namespace sluice {
namespace {

// Groups are added in a fixed binary tree, kept as a binary counter: group g is
// summed in accumulator popcount(g), and then merged downwards once for every
// trailing one bit of g. Micro-batches of a group are summed in order.
class GroupTree {
 public:
  explicit GroupTree(const Workload& workload)
      : per_group_(workload.micro_batches / workload.groups),
        levels_(static_cast<int>(std::bit_width(static_cast<unsigned>(workload.groups)))) {
    SLUICE_CHECK(workload.micro_batches % workload.groups == 0);
    SLUICE_CHECK(std::has_single_bit(static_cast<unsigned>(workload.groups)));
  }

  int levels() const { return levels_; }
  int level(int micro_batch) const { return std::popcount(group(micro_batch)); }
  bool first(int micro_batch) const { return micro_batch % per_group_ == 0; }
  // How many times the level is merged into the one below after this micro-batch.
  int merges(int micro_batch) const {
    const bool last = (micro_batch + 1) % per_group_ == 0;
    return last ? std::countr_one(group(micro_batch)) : 0;
  }

 private:
  unsigned group(int micro_batch) const { return static_cast<unsigned>(micro_batch / per_group_); }
  int per_group_;
  int levels_;
};

// One accumulator of one use of a flat parameter: a layer that uses it, at one level.
struct Accumulator {
  BufferId buffer = kNoBuffer;  // where it is now, or was at `visit`
  std::int32_t visit = -1;
};

class GradientBuilder {
 public:
  explicit GradientBuilder(BuildContext& context)
      : context_(context), tree_(context.workload), schedule_(context.schedule) {}

  GradientPlan build() {
    plan_.at_point.resize(schedule_.points.size());
    plan_.home.assign(context_.workload.flats.size(), kNoBuffer);
    plan_.landed.assign(context_.workload.flats.size(), 0);
    find_last_visits();
    uses_.resize(context_.workload.layers.size());
    for (int l = 0; l < context_.layers(); ++l) {
      uses_[static_cast<std::size_t>(l)].assign(
          context_.layer(l).flats.size(),
          std::vector<Accumulator>(static_cast<std::size_t>(tree_.levels())));
    }
    for (std::int32_t v = 0; v < static_cast<std::int32_t>(schedule_.visits.size()); ++v) {
      if (schedule_.visits[static_cast<std::size_t>(v)].pass == Pass::kBackward) visit(v);
    }
    return std::move(plan_);
  }

 private:
  void find_last_visits() {
    last_visit_.assign(context_.workload.flats.size(), -1);
    for (std::int32_t v = 0; v < static_cast<std::int32_t>(schedule_.visits.size()); ++v) {
      const Visit& visit = schedule_.visits[static_cast<std::size_t>(v)];
      if (visit.pass != Pass::kBackward) continue;
      for (const int f : context_.layer(visit.layer).flats) {
        last_visit_[static_cast<std::size_t>(f)] = v;
      }
    }
  }

  void visit(std::int32_t v) {
    const Visit& visit = schedule_.visits[static_cast<std::size_t>(v)];
    const std::vector<int>& flats = context_.layer(visit.layer).flats;
    for (std::int32_t p = visit.first_point; p <= visit.last_point; ++p) {
      const int m = schedule_.points[static_cast<std::size_t>(p)].micro_batch;
      auto& at = plan_.at_point[static_cast<std::size_t>(p)];
      at.accumulate = !tree_.first(m);
      const int level = tree_.level(m);
      for (std::size_t k = 0; k < flats.size(); ++k) {
        at.accumulators.push_back(touch(v, visit.layer, k, level, at.accumulate));
      }
      for (int i = 0; i < tree_.merges(m); ++i) {
        for (std::size_t k = 0; k < flats.size(); ++k) {
          at.merges.push_back({.total = touch(v, visit.layer, k, level - i - 1, true),
                               .addend = touch(v, visit.layer, k, level - i, true),
                               .flat = static_cast<std::int16_t>(flats[k])});
        }
      }
    }
    for (std::size_t k = 0; k < flats.size(); ++k) {
      if (last_visit_[static_cast<std::size_t>(flats[k])] == v) finish(v, visit, k);
    }
  }

  // The device buffer of an accumulator during visit v. One that holds a sum from
  // an earlier visit and does not live on the device was parked there meanwhile.
  BufferId touch(std::int32_t v, int layer, std::size_t k, int level, bool holds_sum) {
    const int flat = context_.layer(layer).flats[k];
    const auto i = static_cast<std::size_t>(flat);
    Accumulator& accumulator =
        uses_[static_cast<std::size_t>(layer)][k][static_cast<std::size_t>(level)];
    if (accumulator.visit == v) return accumulator.buffer;
    const Bytes size = padded(4 * context_.flat(flat).count);
    const bool resident = context_.placement.gradients[i] == Tier::kDevice;
    if (!holds_sum || accumulator.visit < 0) {
      SLUICE_CHECK(!holds_sum);
      // A resident accumulator keeps its bytes from group to group.
      if (accumulator.visit < 0 || !resident) {
        accumulator.buffer = context_.emitter.buffer(Tier::kDevice, Role::kGradient, size);
      }
    } else if (!resident) {
      accumulator.buffer = park(accumulator, v, flat, size);
    }
    accumulator.visit = v;
    return accumulator.buffer;
  }

  BufferId park(const Accumulator& accumulator, std::int32_t v, int flat, Bytes size) {
    const Placement& placement = context_.placement;
    const Tier home = placement.gradients[static_cast<std::size_t>(flat)];
    const std::int32_t hops = home == Tier::kStorage ? 2 : 1;
    const std::int32_t produced =
        schedule_.visits[static_cast<std::size_t>(accumulator.visit)].last_point;
    const std::int32_t gone = produced + placement.drain_late * hops;
    if (schedule_.point_ahead(v, placement.fetch_ahead * hops) <= gone) return accumulator.buffer;

    Emitter& emitter = context_.emitter;
    const BufferId away = emitter.buffer(home, Role::kGradient, size);
    const BufferId back = emitter.buffer(Tier::kDevice, Role::kGradient, size);
    const Operation move{.role = Role::kGradient, .flat = static_cast<std::int16_t>(flat)};
    move_chain(emitter,
               {.storage_hop = {produced + 2 * placement.drain_late, Moment::kAfter, 0},
                .device_hop = {produced + placement.drain_late, Moment::kAfter, 0}},
               move, accumulator.buffer, away);
    move_chain(
        emitter,
        {.storage_hop = {schedule_.point_ahead(v, 2 * placement.fetch_ahead), Moment::kBefore,
                         2 * v},
         .device_hop = {schedule_.point_ahead(v, placement.fetch_ahead), Moment::kBefore, 2 * v}},
        move, away, back);
    return back;
  }

  // All micro-batches of all layers that use the flat parameter are summed.
  void finish(std::int32_t v, const Visit& visit, std::size_t k) {
    const int flat = context_.layer(visit.layer).flats[k];
    const auto i = static_cast<std::size_t>(flat);
    auto& at = plan_.at_point[static_cast<std::size_t>(visit.last_point)];
    BufferId total = kNoBuffer;
    // A tied matrix has one sum per layer that uses it, added once: last layer first.
    for (int l = context_.layers() - 1; l >= 0; --l) {
      const std::vector<int>& flats = context_.layer(l).flats;
      for (std::size_t use = 0; use < flats.size(); ++use) {
        if (flats[use] != flat) continue;
        const BufferId sum = touch(v, l, use, 0, true);
        if (total == kNoBuffer) {
          total = sum;
        } else {
          at.merges.push_back(
              {.total = total, .addend = sum, .flat = static_cast<std::int16_t>(flat)});
        }
      }
    }
    Emitter& emitter = context_.emitter;
    GradientFinish done{.flat = static_cast<std::int16_t>(flat), .accumulator = total};
    const DType dtype = context_.workload.gradient;
    const Bytes size = padded(size_of(dtype) * context_.flat(flat).count);
    if (dtype != DType::kFloat32) {
      done.rounded = emitter.buffer(Tier::kDevice, Role::kGradient, size);
    }
    at.finishes.push_back(done);
    plan_.home[i] =
        drain(flat, dtype == DType::kFloat32 ? total : done.rounded, size, visit.last_point);
    const Placement& p = context_.placement;
    if (p.deferred || (p.gradients[i] != Tier::kDevice && !p.reuse_gradients)) {
      emitter.make_persistent(plan_.home[i]);
    }
  }

  BufferId drain(int flat, BufferId from, Bytes size, std::int32_t produced) {
    const auto i = static_cast<std::size_t>(flat);
    const Tier home = context_.placement.gradients[i];
    plan_.landed[i] = produced;
    if (home == Tier::kDevice) return from;
    const std::int32_t late = context_.placement.drain_late;
    const BufferId to = context_.emitter.buffer(home, Role::kGradient, size);
    const std::int32_t first = std::min(produced + late, schedule_.last());
    const std::int32_t second = std::min(produced + 2 * late, schedule_.last());
    move_chain(
        context_.emitter,
        {.storage_hop = {second, Moment::kAfter, 0}, .device_hop = {first, Moment::kAfter, 0}},
        {.role = Role::kGradient, .flat = static_cast<std::int16_t>(flat)}, from, to);
    plan_.landed[i] = home == Tier::kStorage ? second : first;
    return to;
  }

  BuildContext& context_;
  GroupTree tree_;
  const Schedule& schedule_;
  GradientPlan plan_;
  std::vector<std::int32_t> last_visit_;                     // by flat
  std::vector<std::vector<std::vector<Accumulator>>> uses_;  // [layer][k][level]
};

}  // namespace

GradientPlan build_gradients(BuildContext& context) { return GradientBuilder(context).build(); }

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>

#include "offload/builder_internal.h"

namespace sluice {
bool updates_in_place(const Placement& placement, int flat) {
  const auto i = static_cast<std::size_t>(flat);
  const Tier at = placement.adam_on_device[i] ? Tier::kDevice : Tier::kHost;
  return placement.weights[i] == at && placement.gradients[i] == at && placement.states[i] == at;
}

void build_homes(BuildContext& context, bool with_states) {
  constexpr std::int64_t kSegmentStep = 2048;  // 4 KiB of bf16
  constexpr Bytes kLargestPiece{std::int64_t{16} << 20};
  const Workload& workload = context.workload;
  // State that is updated where it lies takes no more of the host than what comes there in
  // segments does.
  const Bytes segment = segment_layout(context.placement.segment_elements, workload.moments).size;
  std::int32_t digests = 0;
  for (int f = 0; f < context.flats(); ++f) {
    const auto i = static_cast<std::size_t>(f);
    const std::int64_t count = context.flat(f).count;
    FlatHomes homes;
    const std::int64_t pieces = updates_in_place(context.placement, f)
                                    ? 1
                                    : divide_up(count, context.placement.segment_elements);
    homes.segment_elements = round_up(divide_up(count, pieces), kSegmentStep);
    homes.segments = static_cast<std::int32_t>(divide_up(count, homes.segment_elements));
    homes.first_digest = digests;
    digests += homes.segments;
    homes.block_size = segment_layout(homes.segment_elements, workload.moments).size;
    homes.save_piece = std::min(kLargestPiece, segment);
    homes.weight = context.emitter.buffer(context.placement.weights[i], Role::kWeight,
                                          padded(size_of(workload.compute) * count), true);
    if (with_states) {
      const std::int64_t last = count - homes.segment_elements * (homes.segments - 1);
      homes.state = context.emitter.buffer(
          context.placement.states[i], Role::kState,
          homes.block_size * (homes.segments - 1) + segment_layout(last, workload.moments).size,
          true);
    }
    context.homes.push_back(homes);
  }
}

void move_chain(Emitter& emitter, const ChainMoments& moments, const Operation& operation,
                BufferId from, BufferId to) {
  const Buffer source = emitter[from];
  const Buffer target = emitter[to];
  const auto moment = [&](Tier a, Tier b) {
    return a == Tier::kDevice || b == Tier::kDevice ? moments.device_hop : moments.storage_hop;
  };
  const bool two_hops = source.tier != Tier::kHost && target.tier != Tier::kHost;
  if (!two_hops) {
    emitter.move(moment(source.tier, target.tier), operation, emitter.read(from),
                 emitter.write(to));
    return;
  }
  const BufferId stage = emitter.buffer(Tier::kHost, Role::kWorkspace, source.size);
  emitter.move(moment(source.tier, Tier::kHost), operation, emitter.read(from),
               emitter.write(stage));
  emitter.move(moment(Tier::kHost, target.tier), operation, emitter.read(stage), emitter.write(to));
}

std::vector<std::vector<BufferId>> build_weights(BuildContext& context) {
  struct Slot {
    std::int32_t visit = -1;
    BufferId buffer = kNoBuffer;
  };
  const std::int32_t ahead = context.placement.fetch_ahead;
  std::vector<Slot> latest(context.workload.flats.size());
  std::vector<std::vector<BufferId>> at_visit(context.schedule.visits.size());
  for (std::int32_t v = 0; v < static_cast<std::int32_t>(at_visit.size()); ++v) {
    const Visit& visit = context.schedule.visits[static_cast<std::size_t>(v)];
    for (const int f : context.layer(visit.layer).flats) {
      const auto i = static_cast<std::size_t>(f);
      const BufferId home = context.homes[i].weight;
      Slot& slot = latest[i];
      if (context.placement.weights[i] == Tier::kDevice) {
        slot.buffer = home;
      } else if (slot.visit < 0 || v - slot.visit > ahead + 1) {
        // Not still there from a visit just before: fetch it.
        slot.buffer =
            context.emitter.buffer(Tier::kDevice, Role::kWeight, context.emitter[home].size);
        const Operation fetch{.role = Role::kWeight, .flat = static_cast<std::int16_t>(f)};
        move_chain(
            context.emitter,
            {.storage_hop = {context.schedule.point_ahead(v, 2 * ahead), Moment::kBefore,
                             2 * v + 1},
             .device_hop = {context.schedule.point_ahead(v, ahead), Moment::kBefore, 2 * v + 1}},
            fetch, home, slot.buffer);
      }
      slot.visit = v;
      at_visit[static_cast<std::size_t>(v)].push_back(slot.buffer);
    }
  }
  return at_visit;
}

}  // namespace sluice

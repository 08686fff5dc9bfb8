// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <array>

#include "devices/base/error.h"
#include "offload/builder_internal.h"
#include "offload/operands.h"

namespace sluice {
namespace {

// Slots that segments take in turn. Fixed rings, because what a segment frees at
// once the next one would take at once, and nothing would overlap.
class Rings {
 public:
  explicit Rings(BuildContext& context) : context_(context) {}

  enum Kind : std::uint8_t { kStateIn, kStateOut, kGradientIn, kWeightOut, kSaveOut, kKinds };

  // The next slot of a ring, which is as long as the longest it ever holds.
  BufferId next(Kind kind, Tier tier, Bytes size) {
    Ring& ring = rings_[kind][index_of(tier)];
    // As many slots as are really taken.
    if (ring.slots.size() < slots_of(kind)) {
      ring.slots.push_back(context_.emitter.buffer(tier, role_of(kind), padded(size.value), true));
    }
    const BufferId slot = ring.slots[ring.next++ % ring.slots.size()];
    context_.emitter.enlarge(slot, padded(size.value));
    return slot;
  }

 private:
  struct Ring {
    std::vector<BufferId> slots;
    std::size_t next = 0;
  };

  // Of a save one slot fills while the other is written.
  std::size_t slots_of(Kind kind) const {
    return kind == kSaveOut ? 2 : static_cast<std::size_t>(context_.placement.ring_slots);
  }

  static Role role_of(Kind kind) {
    if (kind == kGradientIn) return Role::kGradient;
    if (kind == kSaveOut) return Role::kWorkspace;
    return kind == kWeightOut ? Role::kWeight : Role::kState;
  }

  BuildContext& context_;
  std::array<std::array<Ring, kTierCount>, kKinds> rings_;
};

class UpdateEmitter {
 public:
  UpdateEmitter(BuildContext& context, const GradientPlan& gradients, const StepScalars& scalars)
      : context_(context), gradients_(gradients), scalars_(scalars), rings_(context) {}

  void emit(const UpdateSlot& slot) {
    const FlatHomes& homes = context_.homes[static_cast<std::size_t>(slot.flat)];
    for (std::int32_t s = 0; s < homes.segments; ++s) segment(slot, s);
  }

 private:
  void segment(const UpdateSlot& slot, std::int32_t s) {
    const auto i = static_cast<std::size_t>(slot.flat);
    const FlatHomes& homes = context_.homes[i];
    const Workload& workload = context_.workload;
    const std::int64_t first = homes.segment_elements * s;
    const std::int64_t elements =
        std::min(homes.segment_elements, context_.flat(slot.flat).count - first);
    const Tier at = context_.placement.adam_on_device[i] ? Tier::kDevice : Tier::kHost;
    moment_ = slot.moment;
    operation_ = {.kind = OperationKind::kUpdate,
                  .lane = at == Tier::kDevice ? Lane::kCompute : Lane::kHostCompute,
                  .role = Role::kState,
                  .stage = static_cast<std::int8_t>(context_.placement.deferred ? 1 : 0),
                  .flat = slot.flat,
                  .segment = s};
    const auto slice = [&](BufferId buffer, DType dtype) {
      const Bytes begin{size_of(dtype) * first};
      const bool last = s + 1 == homes.segments;
      const Bytes size = last ? context_.emitter[buffer].size - begin
                              : Bytes{size_of(dtype) * homes.segment_elements};
      return Access{buffer, true, false, begin, size};
    };
    const Access state_home{homes.state, true, true, homes.block_size * s,
                            segment_layout(elements, workload.moments).size};
    const Access state = bring(state_home, at, Rings::kStateIn, Role::kState);
    const Access gradient = bring(slice(gradients_.home[i], workload.gradient), at,
                                  Rings::kGradientIn, Role::kGradient);
    Access weight_home = slice(homes.weight, workload.compute);
    const Access weight = place(weight_home, at);

    std::vector<Access> operands(UpdateOperands::kDigest + 1);
    operands[UpdateOperands::kState] = as(state, true, true);
    operands[UpdateOperands::kGradient] = as(gradient, true, false);
    operands[UpdateOperands::kWeight] = as(weight, false, true);
    const int norm = context_.placement.deferred ? -1 : slot.flat;
    operands[UpdateOperands::kNorm] =
        Emitter::read(at == Tier::kDevice ? scalars_.norms : scalars_.norms_host,
                      norm_result_offset(norm), {sizeof(NormResult)});
    if (context_.placement.digest) {
      operands[UpdateOperands::kDigest] =
          Emitter::write(at == Tier::kDevice ? scalars_.digests : scalars_.digests_host,
                         {8 * std::int64_t{homes.first_digest + s}}, {8});
    }
    context_.emitter.emit(moment_, operation_, operands);
    const Access on_host = send(state, state_home, Role::kState);
    if (context_.placement.save) save(on_host, state_home);
    send(weight, weight_home, Role::kWeight);
    if (context_.placement.digest && at == Tier::kDevice) {
      hop(Emitter::read(scalars_.digests, {8 * std::int64_t{homes.first_digest + s}}, {8}),
          Emitter::write(scalars_.digests_host, {8 * std::int64_t{homes.first_digest + s}}, {8}),
          Role::kWorkspace);
    }
  }

  static Access as(Access access, bool reads, bool writes) {
    access.reads = reads;
    access.writes = writes;
    return access;
  }

  void hop(const Access& from, const Access& to, Role role) {
    Operation move = operation_;
    move.role = role;
    context_.emitter.move(moment_, move, as(from, true, false), as(to, false, true));
  }

  Tier tier_of(const Access& access) const { return context_.emitter[access.buffer].tier; }

  Access slot(Rings::Kind kind, Tier tier, Bytes size) {
    return {rings_.next(kind, tier, size), true, true, {}, size};
  }

  // Brings `home` to tier `at` through ring slots; `home` itself if it is there.
  Access bring(const Access& home, Tier at, Rings::Kind kind, Role role) {
    Access here = home;
    while (tier_of(here) != at) {
      const Tier next = tier_of(here) == Tier::kHost ? at : Tier::kHost;
      const Access there = slot(kind, next, here.size);
      hop(here, there, role);
      here = there;
    }
    return here;
  }

  // Where an update at `at` writes what belongs to `home`.
  Access place(const Access& home, Tier at) {
    return tier_of(home) == at ? home : slot(Rings::kWeightOut, at, home.size);
  }

  // Takes what an update left in `here` home. Returns where it then lies on the host too,
  // or nothing where it does not come there.
  Access send(const Access& from, const Access& home, Role role) {
    Access here = from;
    Access on_host = tier_of(here) == Tier::kHost ? here : Access{};
    while (tier_of(here) != tier_of(home)) {
      const Tier next = tier_of(here) == Tier::kHost ? tier_of(home) : Tier::kHost;
      const Rings::Kind kind = role == Role::kState ? Rings::kStateOut : Rings::kWeightOut;
      const Access there = next == tier_of(home) ? home : slot(kind, next, here.size);
      hop(here, there, role);
      here = there;
      if (next == Tier::kHost) on_host = here;
    }
    return on_host;
  }

  // The segment as the update left it, to the run's sink: from where it lies on the host, its
  // home or the slot that it passes through; else through slots of its own, piece by piece.
  void save(const Access& on_host, const Access& home) {
    Operation save = operation_;
    save.kind = OperationKind::kSave;
    save.lane = Lane::kSave;
    save.for_save = true;
    if (on_host.exists()) return context_.emitter.emit(moment_, save, {as(on_host, true, false)});
    const Bytes piece = context_.homes[static_cast<std::size_t>(save.flat)].save_piece;
    for (Bytes begin; begin < home.size; begin += piece, ++save.piece) {
      const Bytes size = std::min(piece, home.size - begin);
      const Access staged = slot(Rings::kSaveOut, Tier::kHost, size);
      Operation stage = save;
      context_.emitter.move(moment_, stage, Emitter::read(home.buffer, home.begin + begin, size),
                            as(staged, false, true));
      context_.emitter.emit(moment_, save, {as(staged, true, false)});
    }
  }

  BuildContext& context_;
  const GradientPlan& gradients_;
  const StepScalars& scalars_;
  Rings rings_;
  Moment moment_;
  Operation operation_;
};

}  // namespace

void emit_updates(BuildContext& context, const GradientPlan& gradients, const StepScalars& scalars,
                  const std::vector<UpdateSlot>& order) {
  UpdateEmitter emitter(context, gradients, scalars);
  for (const UpdateSlot& slot : order) emitter.emit(slot);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The parts of builder.h: each plans one kind of buffer over the schedule, and
// emits the moves that bring those bytes to their use and take them home.

#include <array>
#include <vector>

#include "offload/cost_model.h"
#include "offload/emitter.h"
#include "offload/schedule.h"

namespace sluice {

// What all parts share.
struct BuildContext {
  const Workload& workload;
  const Placement& placement;
  Schedule schedule;
  Emitter emitter;
  std::vector<FlatHomes> homes;

  const FlatParameter& flat(int index) const {
    return workload.flats[static_cast<std::size_t>(index)];
  }
  const LayerSpec& layer(int index) const {
    return workload.layers[static_cast<std::size_t>(index)];
  }
  int micro_batches() const { return workload.micro_batches; }
  int layers() const { return static_cast<int>(workload.layers.size()); }
  int flats() const { return static_cast<int>(workload.flats.size()); }
  std::size_t cell(int layer_index, int micro_batch) const {
    return static_cast<std::size_t>(layer_index * workload.micro_batches + micro_batch);
  }
};

// Every buffer that moves is a multiple of the storage's alignment.
inline constexpr std::int64_t kMoveAlignment = 4096;
inline Bytes padded(std::int64_t bytes) { return {round_up(bytes, kMoveAlignment)}; }

// Nothing of a flat parameter moves for its update: it is one segment then.
bool updates_in_place(const Placement& placement, int flat);

// Allocates the homes of weights and (if asked for) states: always the first
// buffers of a program, so that programs of one placement agree on their offsets.
void build_homes(BuildContext& context, bool with_states);

// A chain of moves through neighbouring tiers, with a transient stage between
// storage and device. `first` and `second` are the moments of a chain's two hops;
// a chain of one hop uses the one that touches the device.
struct ChainMoments {
  Moment storage_hop, device_hop;
};
void move_chain(Emitter& emitter, const ChainMoments& moments, const Operation& operation,
                BufferId from, BufferId to);

// Weights: for each visit and each flat of its layer, the buffer on the device.
std::vector<std::vector<BufferId>> build_weights(BuildContext& context);

// Activations: device buffers per (layer, micro-batch).
struct ActivationBuffers {
  // Input of a layer as forward and as backward see it; output gradient of a layer;
  // kept activations as forward and backward see them.
  std::vector<BufferId> forward_input, backward_input, output_gradient, forward_saved,
      backward_saved;
};
ActivationBuffers build_activations(BuildContext& context, bool training);

// Gradients: accumulators by group tree, their parking between visits, and where
// the rounded gradient of each flat parameter waits for its update.
struct GradientMerge {
  BufferId total = kNoBuffer, addend = kNoBuffer;
  std::int16_t flat = -1;
};
struct GradientFinish {
  std::int16_t flat = -1;
  BufferId accumulator = kNoBuffer;
  BufferId rounded = kNoBuffer;  // absent where the gradient leaves in fp32
};
struct GradientPlan {
  struct AtPoint {
    std::vector<BufferId> accumulators;  // one per flat of the layer
    bool accumulate = false;
    std::vector<GradientMerge> merges;     // after the backward call, in order
    std::vector<GradientFinish> finishes;  // then
  };
  std::vector<AtPoint> at_point;     // by point; empty for forward points
  std::vector<BufferId> home;        // by flat: the rounded gradient
  std::vector<std::int32_t> landed;  // by flat: point after which `home` is complete
};
GradientPlan build_gradients(BuildContext& context);

// Updates. Which flat parameter is updated when.
struct UpdateSlot {
  std::int16_t flat = 0;
  Moment moment;
};
std::vector<UpdateSlot> deferred_updates(const BuildContext& context);
std::vector<UpdateSlot> backward_updates(const BuildContext& context, const GradientPlan& gradients,
                                         const CostModel& costs);

// Scalars of a step.
struct StepScalars {
  BufferId batch_host = kNoBuffer, batch_next = kNoBuffer, batch = kNoBuffer;
  BufferId losses = kNoBuffer, losses_host = kNoBuffer;
  BufferId partials = kNoBuffer;
  BufferId norms = kNoBuffer, norms_host = kNoBuffer;
  BufferId digests = kNoBuffer, digests_host = kNoBuffer;
  BufferId logits = kNoBuffer, logits_host = kNoBuffer;
};
void emit_updates(BuildContext& context, const GradientPlan& gradients, const StepScalars& scalars,
                  const std::vector<UpdateSlot>& order);

}  // namespace sluice

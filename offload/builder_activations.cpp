// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>

#include "offload/builder_internal.h"

namespace sluice {
namespace {

// Something produced at one point of forward and needed again at a later point of
// backward: it stays on the device, or is drained and fetched again.
class Keeper {
 public:
  explicit Keeper(BuildContext& context) : context_(context) {}

  // Returns the buffer that backward reads; `forward` itself where it stayed.
  BufferId keep(BufferId forward, Tier home, int layer, int micro_batch, std::int32_t produced,
                std::int32_t last_forward_use, std::int32_t needed) {
    const std::int32_t ahead = context_.placement.fetch_ahead;
    const std::int32_t late = context_.placement.drain_late;
    const std::int32_t hops = home == Tier::kStorage ? 2 : 1;
    const std::int32_t gone = std::max(produced + late * hops, last_forward_use);
    if (home == Tier::kDevice || needed - ahead * hops <= gone + 1) return forward;

    Emitter& emitter = context_.emitter;
    const Bytes size = emitter[forward].size;
    const BufferId away = emitter.buffer(home, Role::kActivation, size);
    const BufferId back = emitter.buffer(Tier::kDevice, Role::kActivation, size);
    const Operation move{.role = Role::kActivation,
                         .layer = static_cast<std::int16_t>(layer),
                         .micro_batch = micro_batch};
    const std::int32_t visit = context_.schedule.points[static_cast<std::size_t>(needed)].visit;
    move_chain(emitter,
               {.storage_hop = {produced + 2 * late, Moment::kAfter, 0},
                .device_hop = {produced + late, Moment::kAfter, 0}},
               move, forward, away);
    move_chain(emitter,
               {.storage_hop = {needed - 2 * ahead, Moment::kBefore, 2 * visit},
                .device_hop = {needed - ahead, Moment::kBefore, 2 * visit}},
               move, away, back);
    return back;
  }

 private:
  BuildContext& context_;
};

Bytes largest_recomputed(const BuildContext& context, bool training) {
  Bytes largest;
  for (int l = 0; l < context.layers(); ++l) {
    const bool scratch = !training || context.placement.recompute[static_cast<std::size_t>(l)];
    if (scratch) largest = std::max(largest, padded(context.layer(l).saved.value));
  }
  return largest;
}

}  // namespace

ActivationBuffers build_activations(BuildContext& context, bool training) {
  Emitter& emitter = context.emitter;
  const Schedule& schedule = context.schedule;
  const std::size_t cells =
      context.workload.layers.size() * static_cast<std::size_t>(context.micro_batches());
  ActivationBuffers result;
  for (auto* buffers : {&result.forward_input, &result.backward_input, &result.output_gradient,
                        &result.forward_saved, &result.backward_saved}) {
    buffers->assign(cells, kNoBuffer);
  }
  // One buffer serves all recomputed layers: only the compute lane touches it.
  const Bytes scratch_size = largest_recomputed(context, training);
  const BufferId scratch =
      scratch_size.value > 0
          ? emitter.buffer(Tier::kDevice, Role::kWorkspace, scratch_size, /*persistent=*/true)
          : kNoBuffer;
  Keeper keeper(context);
  for (int l = 0; l < context.layers(); ++l) {
    const LayerSpec& layer = context.layer(l);
    const auto li = static_cast<std::size_t>(l);
    const bool recompute = !training || context.placement.recompute[li];
    for (int m = 0; m < context.micro_batches(); ++m) {
      const std::size_t cell = context.cell(l, m);
      const std::int32_t forward = schedule.forward_point[cell];
      const std::int32_t backward = schedule.backward_point[cell];
      if (l > 0) {
        const BufferId input =
            emitter.buffer(Tier::kDevice, Role::kActivation, padded(layer.input.value));
        result.forward_input[cell] = input;
        result.backward_input[cell] = input;
        const std::int32_t produced = schedule.forward_point[context.cell(l - 1, m)];
        if (training && forward >= 0) {
          result.backward_input[cell] = keeper.keep(input, context.placement.activations[li], l, m,
                                                    produced, forward, backward);
        }
        if (training) {
          result.output_gradient[context.cell(l - 1, m)] =
              emitter.buffer(Tier::kDevice, Role::kActivation, padded(layer.input.value));
        }
      }
      if (layer.saved.value == 0) continue;
      if (recompute) {
        result.forward_saved[cell] = result.backward_saved[cell] = scratch;
        continue;
      }
      const BufferId saved =
          emitter.buffer(Tier::kDevice, Role::kActivation, padded(layer.saved.value));
      result.forward_saved[cell] = result.backward_saved[cell] = saved;
      if (forward >= 0) {
        result.backward_saved[cell] =
            keeper.keep(saved, context.placement.activations[li], l, m, forward, forward, backward);
      }
    }
  }
  return result;
}

}  // namespace sluice

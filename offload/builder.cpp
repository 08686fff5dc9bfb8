// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/builder.h"

#include <algorithm>
#include <limits>

#include "devices/base/error.h"
#include "devices/storage.h"
#include "offload/builder_internal.h"
#include "offload/memory_map.h"
#include "offload/operands.h"

namespace sluice {
namespace {

constexpr std::int32_t kFirst = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kLast = std::numeric_limits<std::int32_t>::max();

// One Program from its parts, and the calls of the compute lane between them.
class Builder {
 public:
  Builder(const Workload& workload, const Placement& placement, Schedule schedule)
      : context_{.workload = workload,
                 .placement = placement,
                 .schedule = std::move(schedule),
                 .emitter = {},
                 .homes = {}} {}

  Program training(const CostModel& costs) {
    build_homes(context_, /*with_states=*/true);
    allocate_scalars(/*training=*/true);
    weights_ = build_weights(context_);
    activations_ = build_activations(context_, /*training=*/true);
    gradients_ = build_gradients(context_);
    allocate_workspace();
    emit_batch(/*training=*/true);
    emit_points();
    emit_norm_and_report();
    const bool deferred = context_.placement.deferred;
    const auto order =
        deferred ? deferred_updates(context_) : backward_updates(context_, gradients_, costs);
    emit_updates(context_, gradients_, scalars_, order);
    if (context_.placement.digest) emit_digest_report(order);
    return finish();
  }

  Program forward(bool with_states, ForwardOutput output) {
    build_homes(context_, with_states);
    allocate_scalars(/*training=*/false);
    if (output == ForwardOutput::kLogits) allocate_logits();
    weights_ = build_weights(context_);
    activations_ = build_activations(context_, /*training=*/false);
    allocate_workspace();
    emit_batch(/*training=*/false);
    emit_points();
    emit_report();
    return finish();
  }

 private:
  Bytes of_floats(std::int64_t count) const { return {4 * count}; }

  void allocate_scalars(bool training) {
    Emitter& e = context_.emitter;
    const Bytes batch = batch_layout(context_.workload).size();
    const auto persistent = [&](Tier tier, Bytes size) {
      return e.buffer(tier, Role::kWorkspace, size, true);
    };
    scalars_.batch_host = persistent(Tier::kHost, batch);
    scalars_.batch_next = persistent(Tier::kDevice, batch);
    scalars_.batch = persistent(Tier::kDevice, batch);
    scalars_.losses = persistent(Tier::kDevice, of_floats(context_.micro_batches()));
    scalars_.losses_host = persistent(Tier::kHost, of_floats(context_.micro_batches()));
    if (!training) return;
    std::int64_t chunks = 0;
    for (const FlatParameter& flat : context_.workload.flats) {
      first_chunk_.push_back(chunks);
      chunks += norm_chunks_of(flat);
    }
    first_chunk_.push_back(chunks);
    scalars_.partials = persistent(Tier::kDevice, {8 * chunks});
    const Bytes norms = norm_result_offset(context_.flats());
    scalars_.norms = persistent(Tier::kDevice, norms);
    scalars_.norms_host = persistent(Tier::kHost, norms);
    if (context_.placement.digest) {
      const FlatHomes& last = context_.homes.back();
      const Bytes digests{8 * std::int64_t{last.first_digest + last.segments}};
      scalars_.digests = persistent(Tier::kDevice, digests);
      scalars_.digests_host = persistent(Tier::kHost, digests);
    }
  }

  // `logits` has the size that the last layer's output would have.
  void allocate_logits() {
    const LayerSpec& head = context_.workload.layers.back();
    scalars_.logits = context_.emitter.buffer(Tier::kDevice, Role::kWorkspace, head.logits, true);
    scalars_.logits_host =
        context_.emitter.buffer(Tier::kHost, Role::kWorkspace, head.logits, true);
  }

  // One scratch buffer: only the compute lane uses it, one call at a time.
  void allocate_workspace() {
    Bytes size;
    for (const Visit& visit : context_.schedule.visits) {
      const LayerSpec& layer = context_.layer(visit.layer);
      size = std::max({size, layer.forward_workspace,
                       visit.pass == Pass::kBackward ? layer.backward_workspace : Bytes{}});
    }
    if (size.value > 0) {
      workspace_ = context_.emitter.buffer(Tier::kDevice, Role::kWorkspace, padded(size.value),
                                           /*persistent=*/true);
    }
    // No operand of any operation: only kernels of the compute lane, in its order, touch it.
    const Bytes scratch = padded(context_.workload.queue_scratch.value);
    if (scratch.value > 0) {
      queue_scratch_ = context_.emitter.buffer(Tier::kDevice, Role::kWorkspace, scratch,
                                               /*persistent=*/true);
    }
  }

  // The batch of the next step is prepared and sent beside this one. In training late in it, when
  // the last loss is there: what asks for an end until then gets it with this step.
  void emit_batch(bool training) {
    Emitter& e = context_.emitter;
    e.emit({0, Moment::kBefore, kFirst}, {.kind = OperationKind::kBegin},
           {e.read(scalars_.batch_next), e.write(scalars_.batch)});
    Moment moment{(context_.schedule.last() + 1) / 2, Moment::kBefore, kFirst};
    Access loss;
    if (training) {
      const int last = context_.micro_batches() - 1;
      moment = {context_.schedule.backward_point[context_.cell(context_.layers() - 1, last)],
                Moment::kAfter, kFirst};
      loss = Emitter::read(scalars_.losses, of_floats(last), of_floats(1));
    }
    e.emit(moment, {.kind = OperationKind::kPrepare, .lane = Lane::kHostCompute, .stage = -1},
           {e.write(scalars_.batch_host), loss});
    e.move(moment, {.stage = -1}, e.read(scalars_.batch_host), e.write(scalars_.batch_next));
  }

  void emit_points() {
    for (std::int32_t p = 0; p <= context_.schedule.last(); ++p) {
      const Point& point = context_.schedule.points[static_cast<std::size_t>(p)];
      const Visit& visit = context_.schedule.visits[static_cast<std::size_t>(point.visit)];
      if (visit.pass == Pass::kForward) {
        emit_call(p, OperationKind::kForward);
        continue;
      }
      const bool head = visit.layer + 1 == context_.layers();
      if (!head && context_.placement.recompute[static_cast<std::size_t>(visit.layer)] &&
          context_.layer(visit.layer).saved.value > 0) {
        emit_call(p, OperationKind::kRecompute);
      }
      emit_call(p, OperationKind::kBackward);
      emit_sums(p);
    }
  }

  void emit_call(std::int32_t p, OperationKind kind) {
    Emitter& e = context_.emitter;
    const Point& point = context_.schedule.points[static_cast<std::size_t>(p)];
    const Visit& visit = context_.schedule.visits[static_cast<std::size_t>(point.visit)];
    const int m = point.micro_batch;
    const std::size_t cell = context_.cell(visit.layer, m);
    const bool backward = kind == OperationKind::kBackward;
    const bool after_forward = kind != OperationKind::kForward;
    const bool head = visit.layer + 1 == context_.layers();
    const auto maybe = [](BufferId id, auto access) {
      return id == kNoBuffer ? Access{} : access(id);
    };
    const auto read = [&](BufferId id) { return maybe(id, [&](BufferId b) { return e.read(b); }); };
    const auto write = [&](BufferId id) {
      return maybe(id, [&](BufferId b) { return e.write(b); });
    };

    std::vector<Access> o(LayerOperands::kWeights);
    o[LayerOperands::kBatch] = e.read(scalars_.batch);
    o[LayerOperands::kInput] =
        read(after_forward ? activations_.backward_input[cell] : activations_.forward_input[cell]);
    o[LayerOperands::kWorkspace] = write(workspace_);
    const BufferId saved =
        after_forward ? activations_.backward_saved[cell] : activations_.forward_saved[cell];
    o[LayerOperands::kSaved] = backward && !head ? read(saved) : write(saved);
    if (!backward && !head) {
      // Recomputing writes no output: the layer after has used it long ago.
      if (kind == OperationKind::kForward) {
        o[LayerOperands::kOutput] =
            write(activations_.forward_input[context_.cell(visit.layer + 1, m)]);
      }
    }
    if (backward && !head)
      o[LayerOperands::kOutputGradient] = read(activations_.output_gradient[cell]);
    if (backward && visit.layer > 0) {
      o[LayerOperands::kInputGradient] =
          write(activations_.output_gradient[context_.cell(visit.layer - 1, m)]);
    }
    if (head) o[LayerOperands::kLoss] = Emitter::write(scalars_.losses, {4 * std::int64_t{m}}, {4});
    if (head && scalars_.logits != kNoBuffer) o[LayerOperands::kLogits] = e.write(scalars_.logits);
    for (const BufferId weight : weights_[static_cast<std::size_t>(point.visit)]) {
      o.push_back(e.read(weight));
    }
    Operation operation{
        .kind = kind, .layer = static_cast<std::int16_t>(visit.layer), .micro_batch = m};
    if (backward) {
      const auto& at = gradients_.at_point[static_cast<std::size_t>(p)];
      operation.accumulate = at.accumulate;
      for (const BufferId accumulator : at.accumulators) {
        o.push_back(at.accumulate ? e.update(accumulator) : e.write(accumulator));
      }
    }
    e.emit({p, Moment::kDuring, point.visit}, operation, o);
  }

  // What follows a backward call: groups merged, finished gradients rounded.
  void emit_sums(std::int32_t p) {
    Emitter& e = context_.emitter;
    const auto& at = gradients_.at_point[static_cast<std::size_t>(p)];
    const Moment moment{p, Moment::kDuring,
                        context_.schedule.points[static_cast<std::size_t>(p)].visit};
    for (const GradientMerge& merge : at.merges) {
      e.emit(moment, {.kind = OperationKind::kMerge, .role = Role::kGradient, .flat = merge.flat},
             {e.update(merge.total), e.read(merge.addend)});
    }
    for (const GradientFinish& finish : at.finishes) {
      const auto f = static_cast<std::size_t>(finish.flat);
      const Bytes begin{8 * first_chunk_[f]};
      const Bytes size{8 * (first_chunk_[f + 1] - first_chunk_[f])};
      e.emit(moment, {.kind = OperationKind::kRound, .role = Role::kGradient, .flat = finish.flat},
             {e.read(finish.accumulator),
              finish.rounded == kNoBuffer ? Access{} : e.write(finish.rounded),
              Emitter::write(scalars_.partials, begin, size)});
      if (context_.placement.deferred) continue;
      // Each update during backward is guarded by the norm of its own gradient.
      const Bytes result = norm_result_offset(finish.flat);
      const Bytes result_size{sizeof(NormResult)};
      e.emit(moment, {.kind = OperationKind::kNorm, .role = Role::kGradient, .flat = finish.flat},
             {Emitter::read(scalars_.partials, begin, size),
              Emitter::write(scalars_.norms, result, result_size)});
      if (!context_.placement.adam_on_device[f]) {
        e.move({p, Moment::kAfter, 0}, {.flat = finish.flat},
               Emitter::read(scalars_.norms, result, result_size),
               Emitter::write(scalars_.norms_host, result, result_size));
      }
    }
  }

  void emit_norm_and_report() {
    Emitter& e = context_.emitter;
    const Moment end{context_.schedule.last(), Moment::kAfter, 1};
    const Bytes size{sizeof(NormResult)};
    e.emit(end, {.kind = OperationKind::kNorm, .role = Role::kGradient},
           {e.read(scalars_.partials), Emitter::write(scalars_.norms, {}, size)});
    e.move(end, {}, Emitter::read(scalars_.norms, {}, size),
           Emitter::write(scalars_.norms_host, {}, size));
    emit_report();
  }

  void emit_report() {
    Emitter& e = context_.emitter;
    const Moment end{context_.schedule.last(), Moment::kAfter, 1};
    const bool training = scalars_.norms_host != kNoBuffer;
    const bool logits = scalars_.logits != kNoBuffer;
    e.move(end, {}, e.read(scalars_.losses), e.write(scalars_.losses_host));
    if (logits) e.move(end, {}, e.read(scalars_.logits), e.write(scalars_.logits_host));
    e.emit(end, {.kind = OperationKind::kReport, .lane = Lane::kHostCompute},
           {e.read(scalars_.losses_host),
            training ? Emitter::read(scalars_.norms_host, {}, {sizeof(NormResult)}) : Access{},
            logits ? e.read(scalars_.logits_host) : Access{}});
  }

  void emit_digest_report(const std::vector<UpdateSlot>& order) {
    Emitter& e = context_.emitter;
    const auto last = std::max_element(
        order.begin(), order.end(),
        [](const UpdateSlot& a, const UpdateSlot& b) { return a.moment.point < b.moment.point; });
    Moment last_update = last->moment;
    last_update.deadline = kLast;
    e.emit(last_update,
           {.kind = OperationKind::kReportDigest,
            .lane = Lane::kHostCompute,
            .stage = static_cast<std::int8_t>(context_.placement.deferred ? 1 : 0)},
           {e.read(scalars_.digests_host)});
  }

  Program finish() {
    Program program = context_.emitter.finish();
    program.homes = std::move(context_.homes);
    program.queue_scratch = queue_scratch_;
    assign_offsets(program);
    if (context_.workload.checks_storage) {
      program.storage_checksums = checksum_table(program.extent[index_of(Tier::kStorage)]);
    }
    return program;
  }

  BuildContext context_;
  StepScalars scalars_;
  std::vector<std::vector<BufferId>> weights_;  // by visit
  ActivationBuffers activations_;
  GradientPlan gradients_;
  std::vector<std::int64_t> first_chunk_;  // by flat, and the end
  BufferId workspace_ = kNoBuffer, queue_scratch_ = kNoBuffer;
};

}  // namespace

Program build_training(const Workload& workload, const Placement& placement,
                       const CostModel& costs) {
  return Builder(workload, placement, training_schedule(workload, placement.wave)).training(costs);
}

Program build_forward(const Workload& workload, const Placement& placement, bool with_states,
                      ForwardOutput output) {
  return Builder(workload, placement, evaluation_schedule(workload, placement.wave))
      .forward(with_states, output);
}

}  // namespace sluice

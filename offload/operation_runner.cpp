// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/operation_runner.h"

#include <algorithm>
#include <numeric>

#include "devices/base/error.h"
#include "kernels/host_kernels.h"
#include "offload/state_names.h"
#include "offload/tensor_range.h"

namespace sluice {
namespace {

// More flat parameters than any layer uses.
constexpr std::size_t kMaxFlats = 4;

}  // namespace

OperationRunner::OperationRunner(const Workload& workload, const Program& program,
                                 std::span<const std::unique_ptr<LayerProgram>> layers,
                                 const Resources& resources, const ExecuteOptions& options)
    : workload_(workload),
      program_(program),
      layers_(layers),
      resources_(resources),
      options_(options) {
  for (const LayerSpec& layer : workload.layers) SLUICE_CHECK(layer.flats.size() <= kMaxFlats);
}

std::byte* OperationRunner::address(const Operation& operation, std::size_t index) {
  const Access& access = operand(operation, index);
  if (!access.exists()) return nullptr;
  const Buffer& buffer = program_.buffers[static_cast<std::size_t>(access.buffer)];
  const std::int64_t begin = buffer.offset.value + access.begin.value;
  std::int64_t& end = touched_[index_of(operation.lane)].end[index_of(buffer.tier)];
  end = std::max(end, begin + access.size.value);
  if (buffer.tier == Tier::kStorage) return nullptr;
  return (buffer.tier == Tier::kDevice ? resources_.memory.device : resources_.memory.host) + begin;
}

Scratch OperationRunner::queue_scratch() {
  if (program_.queue_scratch == kNoBuffer) return {};
  const Buffer& buffer = program_.buffers[static_cast<std::size_t>(program_.queue_scratch)];
  std::int64_t& end = touched_[index_of(Lane::kCompute)].end[index_of(Tier::kDevice)];
  end = std::max(end, (buffer.offset + buffer.size).value);
  return {resources_.memory.device + buffer.offset.value, buffer.size};
}

std::array<Bytes, kTierCount> OperationRunner::touched() const {
  std::array<Bytes, kTierCount> all;
  for (const Touched& lane : touched_) {
    for (std::size_t tier = 0; tier < kTierCount; ++tier) {
      all[tier] = std::max(all[tier], Bytes{lane.end[tier]});
    }
  }
  return all;
}

void OperationRunner::issue(const Operation& operation, std::int64_t step, Queue& queue) {
  const KernelTable& kernels = resources_.kernels;
  switch (operation.kind) {
    case OperationKind::kBegin:
    case OperationKind::kMove:
      return queue.copy(address(operation, MoveOperands::kTo),
                        address(operation, MoveOperands::kFrom),
                        operand(operation, MoveOperands::kFrom).size);
    case OperationKind::kForward:
    case OperationKind::kRecompute:
    case OperationKind::kBackward:
      return call_layer(operation, kernels, queue);
    case OperationKind::kMerge: {
      float* total = address_as<float>(operation, MergeOperands::kTotal);
      return kernels.add(queue,
                         {.count = workload_.flats[static_cast<std::size_t>(operation.flat)].count,
                          .a = total,
                          .b = address(operation, MergeOperands::kAddend),
                          .y = total});
    }
    case OperationKind::kRound:
      return round(operation, queue);
    case OperationKind::kNorm:
      return kernels.finish_norm(
          queue, {.count = operand(operation, NormOperands::kPartials).size.value / 8,
                  .partials = address_as<double>(operation, NormOperands::kPartials),
                  .clip = operation.flat < 0 ? options_.clip : 0,
                  .result = address_as<NormResult>(operation, NormOperands::kResult)});
    case OperationKind::kUpdate:
      return update(
          operation, step, [&](const AdamW& arguments) { kernels.adamw(queue, arguments); },
          [&](std::uint64_t* zero, std::span<const Digest> parts) {
            if (zero != nullptr) kernels.fill_zero(queue, {.to = zero, .size = {8}});
            for (const Digest& part : parts) kernels.digest(queue, part);
          });
    case OperationKind::kPrepare:
    case OperationKind::kReport:
    case OperationKind::kReportDigest:
    case OperationKind::kSave:
      break;
  }
  SLUICE_CHECK(false && "not an operation of a device lane");
}

void OperationRunner::rehearse(Queue& queue) {
  const KernelTable* const rehearsal = resources_.kernels.rehearsal;
  if (rehearsal == nullptr) return;
  for (const Operation& operation : program_.operations) {
    if (operation.kind == OperationKind::kForward || operation.kind == OperationKind::kRecompute ||
        operation.kind == OperationKind::kBackward) {
      call_layer(operation, *rehearsal, queue);
    }
  }
}

void OperationRunner::call_layer(const Operation& operation, const KernelTable& kernels,
                                 Queue& queue) {
  const auto layer = static_cast<std::size_t>(operation.layer);
  const std::size_t flats = workload_.layers[layer].flats.size();
  const bool backward = operation.kind == OperationKind::kBackward;
  std::array<const std::byte*, kMaxFlats> weights{};
  std::array<float*, kMaxFlats> gradients{};
  for (std::size_t k = 0; k < flats; ++k) {
    weights[k] = address(operation, LayerOperands::kWeights + k);
    if (backward) gradients[k] = address_as<float>(operation, LayerOperands::kWeights + flats + k);
  }
  const BatchLayout layout = batch_layout(workload_);
  const std::byte* batch = address(operation, LayerOperands::kBatch);
  const auto at = [batch](Bytes offset) { return batch + offset.value; };
  const LayerCall call{
      .queue = queue,
      .kernels = kernels,
      .batch = {.ids = reinterpret_cast<const std::int32_t*>(at(layout.ids(operation.micro_batch))),
                .targets = reinterpret_cast<const std::int32_t*>(
                    at(layout.targets(operation.micro_batch))),
                .loss_scale = reinterpret_cast<const float*>(batch),
                .sequences = workload_.sequences,
                .length = workload_.length},
      .weights = {weights.data(), flats},
      .gradients = {gradients.data(), backward ? flats : 0},
      .accumulate = operation.accumulate,
      .input = address(operation, LayerOperands::kInput),
      .output = address(operation, LayerOperands::kOutput),
      .saved = address(operation, LayerOperands::kSaved),
      .workspace = address(operation, LayerOperands::kWorkspace),
      .output_gradient = address(operation, LayerOperands::kOutputGradient),
      .input_gradient = address(operation, LayerOperands::kInputGradient),
      .loss = address_as<float>(operation, LayerOperands::kLoss),
      .logits = address(operation, LayerOperands::kLogits)};
  if (backward) {
    layers_[layer]->backward(call);
  } else {
    layers_[layer]->forward(call);
  }
}

void OperationRunner::round(const Operation& operation, Queue& queue) {
  const KernelTable& kernels = resources_.kernels;
  const FlatParameter& flat = workload_.flats[static_cast<std::size_t>(operation.flat)];
  const std::byte* gradient = address(operation, RoundOperands::kAccumulator);
  if (std::byte* rounded = address(operation, RoundOperands::kRounded)) {
    kernels.cast(queue, {.count = flat.count,
                         .from = gradient,
                         .to = rounded,
                         .from_dtype = DType::kFloat32,
                         .to_dtype = workload_.gradient});
    gradient = rounded;
  }
  // The norm is that of the numbers Adam will consume.
  double* partials = address_as<double>(operation, RoundOperands::kPartials);
  for (const TensorSpec& tensor : flat.tensors) {
    kernels.squared_norm(queue, {.count = tensor.count,
                                 .x = gradient + size_of(workload_.gradient) * tensor.offset,
                                 .partials = partials,
                                 .dtype = workload_.gradient});
    partials += norm_chunks(tensor.count);
  }
}

template <typename Run, typename Hash>
void OperationRunner::update(const Operation& operation, std::int64_t step, Run run, Hash hash) {
  const FlatParameter& flat = workload_.flats[static_cast<std::size_t>(operation.flat)];
  const FlatHomes& homes = program_.homes[static_cast<std::size_t>(operation.flat)];
  const std::int64_t begin = homes.segment_elements * operation.segment;
  const std::int64_t end = std::min(begin + homes.segment_elements, flat.count);
  const SegmentLayout layout = segment_layout(end - begin, workload_.moments);
  std::byte* state = address(operation, UpdateOperands::kState);
  const std::byte* gradient = address(operation, UpdateOperands::kGradient);
  std::byte* weight = address(operation, UpdateOperands::kWeight);
  const auto* norm = address_as<NormResult>(operation, UpdateOperands::kNorm);
  std::uint64_t* digest = nullptr;
  if (operation.access_count > UpdateOperands::kDigest) {
    digest = address_as<std::uint64_t>(operation, UpdateOperands::kDigest);
  }
  const UpdateRule rule = options_.rule(step);
  const DType moments = workload_.moments;
  bool first = true;
  for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
    const TensorSpec& tensor = flat.tensors[t];
    const std::int64_t from = std::max(begin, tensor.offset);
    const std::int64_t to = std::min(end, tensor.offset + tensor.count);
    if (from >= to) continue;
    const std::int64_t at = from - begin;
    const AdamW adam{.count = to - from,
                     .learning_rate = rule.learning_rate,
                     .beta1 = rule.beta1,
                     .beta2 = rule.beta2,
                     .epsilon = rule.epsilon,
                     .weight_decay = tensor.decays ? rule.weight_decay : 0,
                     .step = step,
                     .gradient = gradient + size_of(workload_.gradient) * at,
                     .gradient_dtype = workload_.gradient,
                     .master = reinterpret_cast<float*>(state) + at,
                     .first_moment = state + layout.first_moment.value + size_of(moments) * at,
                     .second_moment = state + layout.second_moment.value + size_of(moments) * at,
                     .moment_dtype = moments,
                     .weight = weight + size_of(workload_.compute) * at,
                     .weight_dtype = workload_.compute,
                     .norm = norm};
    run(adam);
    if (digest == nullptr) continue;
    const auto part = [&](const void* x, DType dtype, StatePart role) {
      return Digest{.count = adam.count,
                    .x = x,
                    .dtype = dtype,
                    .salt = digest_salt(operation.flat, t, role),
                    .first = from - tensor.offset,
                    .digest = digest};
    };
    const std::array parts = {part(adam.weight, workload_.compute, StatePart::kWeight),
                              part(adam.master, DType::kFloat32, StatePart::kMaster),
                              part(adam.first_moment, moments, StatePart::kFirstMoment),
                              part(adam.second_moment, moments, StatePart::kSecondMoment)};
    hash(first ? digest : nullptr, parts);
    first = false;
  }
}

bool OperationRunner::run(const Operation& operation, std::int64_t step, StepListener& listener) {
  Workers& workers = resources_.host_workers;
  switch (operation.kind) {
    case OperationKind::kPrepare: {
      const Access& batch = operand(operation, PrepareOperands::kBatch);
      return listener.prepare(step,
                              {address(operation, PrepareOperands::kBatch), count(batch.size)});
    }
    case OperationKind::kUpdate:
      update(
          operation, step, [&](const AdamW& arguments) { run_on_host(workers, arguments); },
          [&](std::uint64_t* zero, std::span<const Digest> parts) {
            if (zero != nullptr) *zero = 0;
            for (const Digest& part : parts) run_on_host(workers, part);
          });
      return true;
    case OperationKind::kReport:
      report(operation, step, listener);
      return true;
    case OperationKind::kSave:
      save(operation, step);
      return true;
    case OperationKind::kReportDigest: {
      const Access& access = operand(operation, ReportDigestOperands::kDigests);
      const auto* digests = address_as<std::uint64_t>(operation, ReportDigestOperands::kDigests);
      const std::uint64_t start = digest_salt(-1, static_cast<std::size_t>(step), StatePart::kStep);
      listener.digest(step, std::accumulate(digests, digests + access.size.value / 8, start));
      return true;
    }
    default:
      break;
  }
  SLUICE_CHECK(false && "not an operation of a host lane");
}

void OperationRunner::report(const Operation& operation, std::int64_t step,
                             StepListener& listener) {
  StepReport report{.step = step};
  report.losses = {address_as<float>(operation, ReportOperands::kLosses),
                   static_cast<std::size_t>(workload_.micro_batches)};
  if (const auto* norm = address_as<NormResult>(operation, ReportOperands::kNorms)) {
    report.norm = *norm;
  }
  if (const auto* logits = address_as<float>(operation, ReportOperands::kLogits)) {
    report.logits = {logits, count(operand(operation, ReportOperands::kLogits).size) / 4};
  }
  listener.report(report);
}

// The bytes [begin, end) of a segment's block, cut into parts of the state and those into
// tensors. The padding between them is not saved.
void OperationRunner::save(const Operation& operation, std::int64_t step) {
  const FlatParameter& flat = workload_.flats[static_cast<std::size_t>(operation.flat)];
  const FlatHomes& homes = program_.homes[static_cast<std::size_t>(operation.flat)];
  const std::int64_t first = homes.segment_elements * operation.segment;
  const std::int64_t elements = std::min(homes.segment_elements, flat.count - first);
  const SegmentLayout layout = segment_layout(elements, workload_.moments);
  const std::byte* bytes = address(operation, SaveOperands::kState);
  const std::int64_t begin = homes.save_piece.value * operation.piece;
  const std::int64_t end = begin + operand(operation, SaveOperands::kState).size.value;
  const auto part = [&](StatePart name, DType dtype, Bytes at) {
    const std::int64_t width = size_of(dtype);
    const std::int64_t from = (std::max(begin, at.value) - at.value) / width;
    const std::int64_t to = std::min((end - at.value) / width, elements);
    if (from >= to) return;
    for_tensors(flat, first + from, first + to,
                [&](std::size_t tensor, std::int64_t left, std::int64_t right) {
                  const std::byte* data = bytes + (at.value - begin) + width * (left - first);
                  options_.sink->write(
                      step, {.flat = operation.flat,
                             .tensor = tensor,
                             .part = name,
                             .first = left - flat.tensors[tensor].offset,
                             .bytes = {data, static_cast<std::size_t>(width * (right - left))}});
                });
  };
  part(StatePart::kMaster, DType::kFloat32, {});
  part(StatePart::kFirstMoment, workload_.moments, layout.first_moment);
  part(StatePart::kSecondMoment, workload_.moments, layout.second_moment);
}

void OperationRunner::transfer(const Operation& operation, Storage::Listener& listener,
                               std::uint64_t cookie) {
  const bool read = operation.lane == Lane::kStorageRead;
  const std::size_t memory = read ? MoveOperands::kTo : MoveOperands::kFrom;
  const std::size_t file = read ? MoveOperands::kFrom : MoveOperands::kTo;
  std::byte* bytes = address(operation, memory);
  static_cast<void>(address(operation, file));  // counts what was touched
  const Access& access = operand(operation, file);
  const Bytes offset =
      program_.buffers[static_cast<std::size_t>(access.buffer)].offset + access.begin;
  Storage& storage = *resources_.memory.storage;
  if (read) {
    storage.read(offset, {bytes, count(access.size)}, listener, cookie);
  } else {
    storage.write(offset, {bytes, count(access.size)}, listener, cookie);
  }
}

}  // namespace sluice

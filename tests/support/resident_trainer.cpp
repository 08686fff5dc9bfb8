// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tests/support/resident_trainer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/base/error.h"

namespace sluice {

GuardedBytes::GuardedBytes(Bytes size)
    : size_(count(size)),
      data_(static_cast<std::byte*>(::operator new[](size_ + kGuard, std::align_val_t{64}))) {
  fill();
  std::memset(data_.get() + size_, 0xA5, kGuard);
}

void GuardedBytes::fill() { std::memset(data_.get(), 0xFF, size_); }

bool GuardedBytes::intact() const {
  return data_ == nullptr || std::all_of(data_.get() + size_, data_.get() + size_ + kGuard,
                                         [](std::byte b) { return b == std::byte{0xA5}; });
}

ResidentTrainer::ResidentTrainer(Model model, std::int64_t sequences_per_micro_batch, int threads)
    : model_(std::move(model)),
      workload_(model_.workload(sequences_per_micro_batch)),
      workers_(threads),
      queue_(workers_, LinkPace{}, 16),
      kernels_(kernels_for("host")) {
  SLUICE_CHECK(workload_.groups == 1 && model_.layers.size() == workload_.layers.size());
  std::int64_t chunks = 0;
  for (const FlatParameter& parameter : workload_.flats) {
    const auto elements = static_cast<std::size_t>(parameter.count);
    Flat flat;
    flat.master.assign(elements, 0.0F);
    flat.first_moment.assign(elements, 0.0F);
    flat.second_moment.assign(elements, 0.0F);
    flat.weight = GuardedBytes(bytes_of(workload_.compute, parameter.count));
    flat.gradient = GuardedBytes(bytes_of(workload_.gradient, parameter.count));
    flats_.push_back(std::move(flat));
    for (const TensorSpec& tensor : parameter.tensors) chunks += norm_chunks(tensor.count);
  }
  partials_.resize(static_cast<std::size_t>(chunks));

  Bytes workspace, widest;
  for (const LayerSpec& spec : workload_.layers) {
    Layer layer;
    layer.input = GuardedBytes(spec.input);
    layer.saved = GuardedBytes(spec.saved);
    for (const int index : spec.flats) {
      Flat& flat = flats_[static_cast<std::size_t>(index)];
      const std::int64_t elements = workload_.flats[static_cast<std::size_t>(index)].count;
      flat.accumulators.emplace_back(bytes_of(DType::kFloat32, elements));
      layer.weights.push_back(flat.weight.data());
      layer.accumulators.push_back(flat.accumulators.back().floats());
    }
    layers_.push_back(std::move(layer));
    workspace = std::max({workspace, spec.forward_workspace, spec.backward_workspace});
    widest = std::max({widest, spec.input, spec.output});
  }
  workspace_ = GuardedBytes(workspace);
  for (GuardedBytes& buffer : gradients_) buffer = GuardedBytes(widest);
}

void ResidentTrainer::set_weights(std::size_t flat, std::span<const float> values) {
  Flat& state = flats_[flat];
  SLUICE_CHECK(values.size() == state.master.size());
  std::ranges::copy(values, state.master.begin());
  kernels_.cast(queue_, {.count = static_cast<std::int64_t>(values.size()),
                         .from = state.master.data(),
                         .to = state.weight.data(),
                         .from_dtype = DType::kFloat32,
                         .to_dtype = workload_.compute});
  wait();
}

LayerCall ResidentTrainer::call(std::size_t layer, const MicroBatchView& batch) {
  Layer& state = layers_[layer];
  const bool first = layer == 0;
  const bool last = layer + 1 == layers_.size();
  return {.queue = queue_,
          .kernels = kernels_,
          .batch = batch,
          .weights = state.weights,
          .gradients = state.accumulators,
          .input = first ? nullptr : state.input.data(),
          .output = last ? nullptr : layers_[layer + 1].input.data(),
          .saved = state.saved.data(),
          .workspace = workspace_.data(),
          .loss = last ? &loss_ : nullptr};
}

void ResidentTrainer::forward(const MicroBatchView& batch, std::size_t layers) {
  for (std::size_t i = 0; i < layers; ++i) model_.layers[i]->forward(call(i, batch));
}

void ResidentTrainer::backward(const MicroBatchView& batch, bool accumulate) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    LayerCall pass = call(i, batch);
    pass.accumulate = accumulate;
    pass.output_gradient = i + 1 == layers_.size() ? nullptr : gradients_[(i + 1) % 2].data();
    pass.input_gradient = i == 0 ? nullptr : gradients_[i % 2].data();
    model_.layers[i]->backward(pass);
  }
}

ResidentTrainer::StepResult ResidentTrainer::gradients(std::span<const std::int32_t> ids,
                                                       std::span<const std::int32_t> targets,
                                                       double clip) {
  const auto tokens = static_cast<std::size_t>(workload_.tokens_per_micro_batch().value);
  SLUICE_CHECK(ids.size() == static_cast<std::size_t>(workload_.tokens_per_step().value));
  SLUICE_CHECK(targets.size() == ids.size());
  const auto unmasked = std::ranges::count_if(targets, [](std::int32_t t) { return t >= 0; });
  loss_scale_ = 1.0F / static_cast<float>(unmasked);
  for (Flat& flat : flats_) {
    for (GuardedBytes& accumulator : flat.accumulators) accumulator.fill();
  }
  StepResult result;
  for (std::size_t at = 0; at < ids.size(); at += tokens) {
    const MicroBatchView batch{.ids = ids.data() + at,
                               .targets = targets.data() + at,
                               .loss_scale = &loss_scale_,
                               .sequences = workload_.sequences,
                               .length = workload_.length};
    forward(batch, layers_.size() - 1);
    backward(batch, /*accumulate=*/at > 0);
    wait();
    result.loss += static_cast<double>(loss_) / static_cast<double>(unmasked);
  }
  finish_gradients(clip);
  wait();
  result.gradient_norm = static_cast<double>(norm_.norm);
  return result;
}

// A tied matrix's accumulators are added once; then each is rounded once.
void ResidentTrainer::finish_gradients(double clip) {
  double* partials = partials_.data();
  for (std::size_t f = 0; f < flats_.size(); ++f) {
    Flat& flat = flats_[f];
    const FlatParameter& parameter = workload_.flats[f];
    float* const sum = flat.accumulators.front().floats();
    for (std::size_t i = 1; i < flat.accumulators.size(); ++i) {
      kernels_.add(queue_, {.count = parameter.count,
                            .a = sum,
                            .b = flat.accumulators[i].floats(),
                            .y = sum,
                            .dtype = DType::kFloat32});
    }
    kernels_.cast(queue_, {.count = parameter.count,
                           .from = sum,
                           .to = flat.gradient.data(),
                           .from_dtype = DType::kFloat32,
                           .to_dtype = workload_.gradient});
    for (const TensorSpec& tensor : parameter.tensors) {
      kernels_.squared_norm(
          queue_, {.count = tensor.count,
                   .x = flat.gradient.data() + count(bytes_of(workload_.gradient, tensor.offset)),
                   .partials = partials,
                   .dtype = workload_.gradient});
      partials += norm_chunks(tensor.count);
    }
  }
  kernels_.finish_norm(queue_, {.count = static_cast<std::int64_t>(partials_.size()),
                                .partials = partials_.data(),
                                .clip = static_cast<float>(clip),
                                .result = &norm_});
}

std::span<const float> ResidentTrainer::gradient(std::size_t flat) {
  SLUICE_CHECK(workload_.gradient == DType::kFloat32);
  return {flats_[flat].gradient.floats(), flats_[flat].master.size()};
}

void ResidentTrainer::update(const AdamSettings& settings) {
  ++steps_;
  for (std::size_t f = 0; f < flats_.size(); ++f) {
    Flat& flat = flats_[f];
    for (const TensorSpec& tensor : workload_.flats[f].tensors) {
      const auto at = static_cast<std::size_t>(tensor.offset);
      kernels_.adamw(
          queue_,
          {.count = tensor.count,
           .learning_rate = static_cast<float>(settings.lr),
           .beta1 = static_cast<float>(settings.beta1),
           .beta2 = static_cast<float>(settings.beta2),
           .epsilon = static_cast<float>(settings.eps),
           .weight_decay = tensor.decays ? static_cast<float>(settings.weight_decay) : 0.0F,
           .step = steps_,
           .gradient = flat.gradient.data() + count(bytes_of(workload_.gradient, tensor.offset)),
           .gradient_dtype = workload_.gradient,
           .master = flat.master.data() + at,
           .first_moment = flat.first_moment.data() + at,
           .second_moment = flat.second_moment.data() + at,
           .weight = flat.weight.data() + count(bytes_of(workload_.compute, tensor.offset)),
           .weight_dtype = workload_.compute,
           .norm = &norm_});
    }
  }
  wait();
}

double ResidentTrainer::forward_loss(std::span<const std::int32_t> ids,
                                     std::span<const std::int32_t> targets,
                                     std::vector<float>* logits) {
  const MicroBatchView batch{.ids = ids.data(),
                             .targets = targets.data(),
                             .loss_scale = &loss_scale_,
                             .sequences = workload_.sequences,
                             .length = workload_.length};
  forward(batch, layers_.size() - 1);
  LayerCall head = call(layers_.size() - 1, batch);
  GuardedBytes asked(workload_.layers.back().logits);
  if (logits != nullptr) head.logits = asked.data();
  model_.layers.back()->forward(head);
  wait();
  if (logits != nullptr) {
    SLUICE_CHECK(asked.intact());
    const std::int64_t values = workload_.layers.back().logits.value / size_of(DType::kFloat32);
    logits->assign(asked.floats(), asked.floats() + values);
  }
  return static_cast<double>(loss_);
}

bool ResidentTrainer::buffers_intact() const {
  bool intact = workspace_.intact() && gradients_[0].intact() && gradients_[1].intact();
  for (const Layer& layer : layers_)
    intact = intact && layer.input.intact() && layer.saved.intact();
  for (const Flat& flat : flats_) {
    intact = intact && flat.weight.intact() && flat.gradient.intact();
    for (const GuardedBytes& a : flat.accumulators) intact = intact && a.intact();
  }
  return intact;
}

}  // namespace sluice

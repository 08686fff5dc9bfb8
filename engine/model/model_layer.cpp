// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/model_layer.h"

#include <utility>

#include "devices/base/error.h"

namespace sluice {

TensorRef LayerTensors::add(std::string tensor, std::vector<std::int64_t> shape, bool decays) {
  if (own_ < 0) {
    own_ = static_cast<int>(flats_.size());
    flats_.push_back(static_cast<int>(all_.size()));
    all_.emplace_back().name = name_;
  }
  FlatParameter& flat = all_[static_cast<std::size_t>(flats_[static_cast<std::size_t>(own_)])];
  const int index = flat.add(std::move(tensor), std::move(shape), decays);
  return {.flat = own_, .offset = flat.tensors[static_cast<std::size_t>(index)].offset};
}

TensorRef LayerTensors::matrix(std::string tensor, std::int64_t rows, std::int64_t columns) {
  return add(std::move(tensor), {rows, columns}, /*decays=*/true);
}

TensorRef LayerTensors::vector(std::string tensor, std::int64_t count) {
  return add(std::move(tensor), {count}, /*decays=*/false);
}

TensorRef LayerTensors::tied(int flat) {
  SLUICE_CHECK(all_[static_cast<std::size_t>(flat)].tensors.size() == 1);
  flats_.push_back(flat);
  return {.flat = static_cast<int>(flats_.size()) - 1, .offset = 0};
}

ModelLayer::ModelLayer(std::string name, const LayerTensors& tensors,
                       const std::vector<FlatParameter>& all)
    : name_(std::move(name)), flats_(tensors.flats()) {
  for (std::size_t i = 0; i < flats_.size(); ++i) {
    const FlatParameter& flat = all[static_cast<std::size_t>(flats_[i])];
    for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
      const std::int64_t end = flat.tensors[t].offset + flat.tensors[t].count;
      const std::int64_t next =
          t + 1 < flat.tensors.size() ? flat.tensors[t + 1].offset : flat.count;
      if (next > end) gaps_.push_back({{static_cast<int>(i), end}, next - end});
    }
  }
}

LayerSpec ModelLayer::named_spec() const {
  LayerSpec spec;
  spec.name = name_;
  spec.flats = flats_;
  return spec;
}

void ModelLayer::clear_gaps(const LayerCall& call) const {
  if (call.accumulate) return;
  for (const Gap& gap : gaps_) {
    call.kernels.fill_zero(call.queue, {.to = gradient_of(call, gap.start),
                                        .size = bytes_of(DType::kFloat32, gap.count)});
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/layout.h"

#include "engine/checkpoint/checksum.h"

namespace sluice {

std::string_view file_of(StatePart part) {
  switch (part) {
    case StatePart::kFirstMoment:
      return "first_moment.safetensors";
    case StatePart::kSecondMoment:
      return "second_moment.safetensors";
    default:
      return "model.safetensors";
  }
}

std::int64_t CheckpointTensor::chunks() const { return divide_up(header.count(), kChunkElements); }

Bytes CheckpointLayout::size() const {
  Bytes total;
  for (const File& file : files) total += file.size;
  return total;
}

CheckpointLayout checkpoint_layout(const Workload& workload) {
  CheckpointLayout layout;
  for (const StatePart part : kSavedParts) {
    const DType dtype = part == StatePart::kMaster ? DType::kFloat32 : workload.moments;
    const std::size_t index = CheckpointLayout::part_index(part);
    const std::size_t begin = layout.tensors.size();
    std::vector<TensorHeader> headers;
    for (const FlatParameter& flat : workload.flats) {
      layout.first_[index].push_back(layout.tensors.size());
      for (const TensorSpec& tensor : flat.tensors) {
        headers.push_back({.name = tensor.name, .dtype = dtype, .shape = tensor.shape});
        layout.tensors.push_back({.header = headers.back(), .part = part});
      }
    }
    CheckpointLayout::File& file = layout.files[index];
    file.header = safetensors_header(headers);
    file.size = {static_cast<std::int64_t>(file.header.size())};
    for (std::size_t t = begin; t < layout.tensors.size(); ++t) {
      CheckpointTensor& tensor = layout.tensors[t];
      tensor.offset = file.size;
      tensor.first_chunk = layout.chunks;
      file.size += tensor.header.size();
      layout.chunks += tensor.chunks();
    }
  }
  return layout;
}

}  // namespace sluice

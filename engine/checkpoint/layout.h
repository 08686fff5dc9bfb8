// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Which file of a checkpoint holds which tensor, and where: a function of the model and the
// type of its moments alone, so known before the first byte is written.
//
//   model.safetensors          masters, fp32, under Hugging Face's names
//   first_moment.safetensors   and second_moment.safetensors: the same names, the moments' type

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files/safetensors.h"
#include "offload/state_names.h"
#include "offload/workload.h"

namespace sluice {

inline constexpr std::array kSavedParts = {StatePart::kMaster, StatePart::kFirstMoment,
                                           StatePart::kSecondMoment};
std::string_view file_of(StatePart part);  // "model.safetensors", ...

struct CheckpointTensor {
  TensorHeader header;
  StatePart part = StatePart::kMaster;
  Bytes offset;                  // in the file of its part
  std::int64_t first_chunk = 0;  // of its checksums among all
  std::int64_t chunks() const;
};

struct CheckpointLayout {
  struct File {
    std::string header;  // the bytes it begins with
    Bytes size;
  };
  std::array<File, kSavedParts.size()> files;  // by kSavedParts
  std::vector<CheckpointTensor> tensors;       // part by part, flat by flat, in order
  std::int64_t chunks = 0;

  Bytes size() const;  // of the three files
  const CheckpointTensor& tensor(StatePart part, int flat, std::size_t index) const {
    return tensors[first_[part_index(part)][static_cast<std::size_t>(flat)] + index];
  }
  static std::size_t part_index(StatePart part) {
    return static_cast<std::size_t>(part) - static_cast<std::size_t>(StatePart::kMaster);
  }

  // Of the first tensor of each flat parameter, by part.
  std::array<std::vector<std::size_t>, kSavedParts.size()> first_;
};

CheckpointLayout checkpoint_layout(const Workload& workload);

}  // namespace sluice

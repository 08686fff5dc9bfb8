// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What embedding, block and head have in common: a description for the planner,
// and flat parameters with gaps between their tensors.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/buffers.h"
#include "offload/workload.h"

namespace sluice {

// Describes the tensors of one layer while it is made. Indices of TensorRef are
// those of flats().
class LayerTensors {
 public:
  // `all` grows by this layer's own flat parameter, named `name`, when the first
  // tensor is added to it.
  LayerTensors(std::vector<FlatParameter>& all, std::string name)
      : all_(all), name_(std::move(name)) {}

  TensorRef matrix(std::string tensor, std::int64_t rows, std::int64_t columns);
  TensorRef vector(std::string tensor, std::int64_t count);  // biases and norms: no decay
  // The one tensor of all[flat], which another layer owns as well.
  TensorRef tied(int flat);

  const std::vector<int>& flats() const { return flats_; }

 private:
  TensorRef add(std::string tensor, std::vector<std::int64_t> shape, bool decays);

  std::vector<FlatParameter>& all_;
  std::string name_;
  std::vector<int> flats_;
  int own_ = -1;  // index into flats_
};

class ModelLayer : public LayerProgram {
 public:
  // Valid for any micro-batch of `sequences` x `length` tokens.
  virtual LayerSpec spec(std::int64_t sequences, std::int64_t length) const = 0;

 protected:
  ModelLayer(std::string name, const LayerTensors& tensors, const std::vector<FlatParameter>& all);

  LayerSpec named_spec() const;

  // Backward leaves no element of a flat gradient unwritten: the alignment gaps
  // become 0 here unless call.accumulate.
  void clear_gaps(const LayerCall& call) const;

 private:
  struct Gap {
    TensorRef start;
    std::int64_t count;
  };
  std::string name_;
  std::vector<int> flats_;
  std::vector<Gap> gaps_;
};

}  // namespace sluice

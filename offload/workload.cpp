// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/workload.h"

#include <utility>

namespace sluice {

int FlatParameter::add(std::string tensor_name, std::vector<std::int64_t> shape, bool decays) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) elements *= extent;
  tensors.push_back({.name = std::move(tensor_name),
                     .shape = std::move(shape),
                     .offset = count,
                     .count = elements,
                     .decays = decays});
  count = round_up(count + elements, kTensorAlignment);
  return static_cast<int>(tensors.size()) - 1;
}

double PassCost::flops() const {
  double total = attention_flops;
  for (const MatmulCost& matmul : matmuls) {
    total += 2.0 * matmul.m * matmul.n * matmul.k * matmul.repeat;
  }
  return total;
}

std::int64_t Workload::parameters() const {
  std::int64_t total = 0;
  for (const FlatParameter& flat : flats) {
    for (const TensorSpec& tensor : flat.tensors) total += tensor.count;
  }
  return total;
}

}  // namespace sluice

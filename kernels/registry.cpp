// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "devices/base/error.h"
#include "kernels/cuda/table.h"
#include "kernels/host/table.h"
#include "kernels/kernels.h"

namespace sluice {

const KernelTable& kernels_for(const std::string& kind) {
  if (kind == "host") return host_kernels();
  if (kind == "cuda") return cuda_kernels();
  throw Error(ErrorKind::kConfig,
              fmt::format("no kernels for device \"{}\": expected \"host\" or \"cuda\"", kind));
}

Bytes queue_scratch_for(const std::string& kind, const Attention& shape) {
  return kind == "cuda" ? cuda_scratch(shape) : Bytes{};
}

KernelTable idle_kernels() {
  constexpr auto nothing = [](Queue& /*queue*/, const auto& /*arguments*/) {};
  return {
      .matmul = nothing,
      .column_sum = nothing,
      .norm = nothing,
      .norm_backward = nothing,
      .gelu = nothing,
      .gelu_backward = nothing,
      .swiglu = nothing,
      .swiglu_backward = nothing,
      .rope = nothing,
      .attention = nothing,
      .attention_backward = nothing,
      .embedding = nothing,
      .embedding_backward = nothing,
      .cross_entropy = nothing,
      .sum = nothing,
      .add = nothing,
      .cast = nothing,
      .fill_zero = nothing,
      .squared_norm = nothing,
      .finish_norm = nothing,
      .adamw = nothing,
      .digest = nothing,
  };
}

std::vector<std::string> kernel_notes(const std::string& kind) {
  return kind == "cuda" ? cuda_kernel_notes() : std::vector<std::string>{};
}

}  // namespace sluice

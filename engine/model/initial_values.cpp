// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/model/initial_values.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "devices/base/error.h"
#include "kernels/random_math.h"
#include "offload/tensor_range.h"

namespace sluice {
namespace {

// FNV-1a: names the random stream of a tensor.
std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return hash;
}

bool writes_to_residual(std::string_view name) {
  for (const std::string_view end : {"c_proj.weight", "o_proj.weight", "down_proj.weight"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

void fill_tensor(const TensorSpec& tensor, const ModelShape& shape, std::int64_t first,
                 std::span<float> out, std::uint64_t seed) {
  if (tensor.shape.size() == 1) {
    std::ranges::fill(out, tensor.name.ends_with(".bias") ? 0.0F : 1.0F);
    return;
  }
  const float residual = 1.0F / std::sqrt(2.0F * static_cast<float>(shape.layers));
  const float deviation = shape.init_std * (writes_to_residual(tensor.name) ? residual : 1.0F);
  const std::uint64_t stream = stream_of(tensor.name);
  auto index = static_cast<std::uint64_t>(first);
  for (float& value : out) value = deviation * random_normal(seed, stream, index++);
}

}  // namespace

void initial_values(const Workload& workload, const ModelShape& shape, int flat, std::int64_t first,
                    std::span<float> out, std::uint64_t seed) {
  const FlatParameter& parameter = workload.flats[static_cast<std::size_t>(flat)];
  const std::int64_t last = first + static_cast<std::int64_t>(out.size());
  SLUICE_CHECK(first >= 0 && last <= parameter.count);
  std::ranges::fill(out, 0.0F);  // gaps
  for_tensors(parameter, first, last, [&](std::size_t t, std::int64_t begin, std::int64_t end) {
    const TensorSpec& tensor = parameter.tensors[t];
    fill_tensor(
        tensor, shape, begin - tensor.offset,
        out.subspan(static_cast<std::size_t>(begin - first), static_cast<std::size_t>(end - begin)),
        seed);
  });
}

}  // namespace sluice

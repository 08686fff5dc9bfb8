// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/weights.h"

#include <algorithm>
#include <vector>

#include "engine/files/model_folder.h"
#include "engine/model/initial_values.h"

namespace sluice {
namespace {

// Calls act(tensor, first, last): the part of a flat parameter's elements
// [begin, end) that belongs to each tensor, as offsets in the flat parameter.
template <typename Act>
void for_tensors(const FlatParameter& flat, std::int64_t begin, std::int64_t end, Act act) {
  for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
    const TensorSpec& tensor = flat.tensors[t];
    const std::int64_t first = std::max(begin, tensor.offset);
    const std::int64_t last = std::min(end, tensor.offset + tensor.count);
    if (first < last) act(t, first, last);
  }
}

}  // namespace

void load_folder(const Workload& workload, const std::filesystem::path& folder,
                 StateAccess& state) {
  const ModelFolderReader reader(folder);
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const FlatParameter& flat = workload.flats[f];
    // One tensor at a time is held whole.
    std::vector<float> values;
    std::size_t held = flat.tensors.size();
    state.load(static_cast<int>(f), [&](std::int64_t first, std::span<float> out) {
      std::fill(out.begin(), out.end(), 0.0F);
      const std::int64_t end = first + static_cast<std::int64_t>(out.size());
      for_tensors(flat, first, end, [&](std::size_t t, std::int64_t from, std::int64_t to) {
        const TensorSpec& tensor = flat.tensors[t];
        if (held != t) {
          values.resize(static_cast<std::size_t>(tensor.count));
          reader.read(tensor.name, tensor.shape, values);
          held = t;
        }
        std::copy(values.begin() + (from - tensor.offset), values.begin() + (to - tensor.offset),
                  out.begin() + (from - first));
      });
    });
  }
}

void load_start(const Workload& workload, const ModelChoice& model, std::uint64_t seed,
                StateAccess& state) {
  if (!model.path.empty() && model.init != ModelStart::kRandom) {
    return load_folder(workload, model.path, state);
  }
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const int flat = static_cast<int>(f);
    state.load(flat, [&](std::int64_t first, std::span<float> out) {
      initial_values(workload, model.shape, flat, first, out, seed);
    });
  }
}

void save_folder(const Workload& workload, const ModelShape& shape, StateAccess& state,
                 const std::filesystem::path& target) {
  std::vector<TensorHeader> headers;
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) {
      headers.push_back({.name = tensor.name, .dtype = workload.compute, .shape = tensor.shape});
    }
  }
  ModelFolderWriter writer(target, shape, workload.compute, headers);
  const std::int64_t width = size_of(workload.compute);
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    state.read(static_cast<int>(f), StatePart::kWeight,
               [&](std::int64_t first, std::span<const std::byte> bytes) {
                 const std::int64_t end = first + static_cast<std::int64_t>(bytes.size()) / width;
                 for_tensors(
                     workload.flats[f], first, end,
                     [&](std::size_t, std::int64_t from, std::int64_t to) {
                       writer.write(bytes.subspan(static_cast<std::size_t>((from - first) * width),
                                                  static_cast<std::size_t>((to - from) * width)));
                     });
               });
  }
  writer.finish();
}

}  // namespace sluice

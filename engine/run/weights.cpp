// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/files/input_file.h"
#include "engine/files/model_json.h"
#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "offload/tensor_range.h"

namespace sluice {
namespace {

// The folder that a run began with brings tokenizer and config; a run does not lose its
// model because somebody has moved that folder since.
std::filesystem::path companions_of(const ModelChoice& model) {
  if (model.path.empty()) return {};
  try {
    if (read_model_json(model.path) == model.shape) return model.path;
  } catch (const Error& error) {
    log_warn(fmt::format("{}; the model is saved without that folder's tokenizer", error.what()));
    return {};
  }
  log_warn(fmt::format("{}: is another model now; the model is saved without its tokenizer",
                       model.path.string()));
  return {};
}

}  // namespace

void check_folder(const ModelShape& shape, const ModelFolderReader& reader) {
  // A config.json of a line may ask for more layers than are worth naming.
  if (reader.tensors() < shape.layers) {
    throw Error(ErrorKind::kData,
                fmt::format("{}: config.json has {} layers, but the weights are {} tensors: are "
                            "both of one model?",
                            reader.folder().string(), shape.layers, reader.tensors()));
  }
  const Workload workload = make_model(shape, {}).workload(1);  // for its tensors
  std::vector<std::string> names;
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) {
      reader.require(tensor.name, tensor.shape);
      names.push_back(tensor.name);
    }
  }
  for (const TensorHeader& bias : missing_biases(shape, workload.compute)) {
    names.push_back(bias.name);
  }
  reader.check_no_others(names, shape.tied);
}

ModelFolderReader open_weights(const std::filesystem::path& folder) {
  if (has_entry(folder, "manifest.json")) {
    try {
      CheckpointReader(folder).verify(StatePart::kMaster);
    } catch (const Error& error) {
      throw Error(error.kind(),
                  fmt::format("{}; name an older checkpoint beside it", error.what()));
    }
  }
  return ModelFolderReader(folder);
}

void load_folder(const Workload& workload, const ModelShape& shape,
                 const std::filesystem::path& folder, StateAccess& state) {
  const ModelFolderReader reader = open_weights(folder);
  check_folder(shape, reader);
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const FlatParameter& flat = workload.flats[f];
    // Straight from the file into the block that goes to its tier.
    state.load(static_cast<int>(f), [&](std::int64_t first, std::span<float> out) {
      std::fill(out.begin(), out.end(), 0.0F);
      const std::int64_t end = first + static_cast<std::int64_t>(out.size());
      for_tensors(flat, first, end, [&](std::size_t t, std::int64_t from, std::int64_t to) {
        const TensorSpec& tensor = flat.tensors[t];
        reader.read(reader.require(tensor.name, tensor.shape), from - tensor.offset,
                    out.subspan(static_cast<std::size_t>(from - first),
                                static_cast<std::size_t>(to - from)));
      });
    });
  }
}

void check_start(const ModelChoice& model) {
  if (model.path.empty()) return;
  const std::string dropout = dropout_in(model.path);
  if (!dropout.empty()) {
    log_info(fmt::format("{}: {}: dropout is not offered, training goes without",
                         (model.path / "config.json").string(), dropout));
  }
  if (model.init == ModelStart::kRandom) return;
  check_folder(model.shape, ModelFolderReader(model.path));
}

void load_start(const Workload& workload, const ModelChoice& model, std::uint64_t seed,
                Workers& workers, StateAccess& state) {
  if (!model.path.empty() && model.init != ModelStart::kRandom) {
    return load_folder(workload, model.shape, model.path, state);
  }
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const int flat = static_cast<int>(f);
    state.load(flat, [&](std::int64_t first, std::span<float> out) {
      constexpr std::int64_t kChunk = 1 << 14;
      workers.for_each(divide_up(std::ssize(out), kChunk), [&](std::int64_t chunk) {
        const std::int64_t at = chunk * kChunk;
        const std::int64_t count = std::min(kChunk, std::ssize(out) - at);
        initial_values(workload, model.shape, flat, first + at,
                       out.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(count)),
                       seed);
      });
    });
  }
}

void save_folder(const Workload& workload, const ModelChoice& model, StateAccess& state,
                 const std::filesystem::path& target) {
  std::vector<TensorHeader> headers;
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) {
      headers.push_back({.name = tensor.name, .dtype = workload.compute, .shape = tensor.shape});
    }
  }
  ModelFolderWriter writer(target, model.shape, workload.compute, headers, companions_of(model));
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

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "engine/files/model_folder.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr Bytes kLargestIndex{100'000'000};
constexpr std::size_t kMostFiles = 500;  // they stay open

// Prefixes of whole models that files of a bare one lack.
constexpr std::array<std::string_view, 2> kPrefixes{"transformer.", "model."};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

// Constants that old versions of transformers stored beside the weights.
bool is_constant(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
         name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace

bool holds_weights(const fs::path& folder) {
  return has_entry(folder, kWhole) || has_entry(folder, kIndex);
}

ModelFolderReader::ModelFolderReader(const fs::path& folder) : folder_(folder) {
  if (has_entry(folder, kWhole)) {
    add_file(kWhole);
  } else if (has_entry(folder, kIndex)) {
    add_shards(kIndex);
  } else {
    refuse(folder,
           "holds no model.safetensors and no model.safetensors.index.json; name a folder that "
           "save_pretrained() or `sluice export` made");
  }
}

void ModelFolderReader::add_file(const std::string& name) {
  const InputFile& file = files_.emplace_back(folder_, name);
  for (StoredTensor& tensor : read_safetensors_header(file)) {
    const std::string key = tensor.name;
    if (!tensors_.try_emplace(key, Place{files_.size() - 1, std::move(tensor)}).second) {
      refuse(file.path(), fmt::format("tensor {} is in two shards", printable(key)));
    }
  }
}

void ModelFolderReader::add_shards(const std::string& index) {
  const InputFile file(folder_, index);
  const auto files = parse_shard_index(file.text(kLargestIndex), file.path().string());
  std::set<std::string> distinct;
  for (const auto& [name, shard] : files) distinct.insert(shard);
  if (distinct.size() > kMostFiles) {
    refuse(file.path(), fmt::format("weight_map names {} files: at most {} are read",
                                    distinct.size(), kMostFiles));
  }
  for (const std::string& shard : distinct) add_file(shard);
  for (const auto& [name, shard] : files) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || files_[found->second.file].path().filename() != shard) {
      refuse(file.path(),
             fmt::format("weight_map: tensor {} is not in {}", printable(name), printable(shard)));
    }
  }
  if (tensors_.size() == files.size()) return;
  for (const auto& [name, place] : tensors_) {
    if (files.count(name) > 0) continue;
    refuse(files_[place.file].path(),
           fmt::format("tensor {} is not in the index", printable(name)));
  }
}

const ModelFolderReader::Place* ModelFolderReader::place_of(const std::string& name) const {
  auto found = tensors_.find(name);
  for (const std::string_view prefix : kPrefixes) {
    if (found == tensors_.end() && name.starts_with(prefix)) {
      found = tensors_.find(name.substr(prefix.size()));
    }
  }
  return found == tensors_.end() ? nullptr : &found->second;
}

const StoredTensor* ModelFolderReader::find(const std::string& name) const {
  const Place* place = place_of(name);
  return place == nullptr ? nullptr : &place->tensor;
}

const StoredTensor& ModelFolderReader::require(const std::string& name,
                                               const std::vector<std::int64_t>& shape) const {
  const Place* place = place_of(name);
  if (place == nullptr) {
    refuse(folder_,
           fmt::format("has no tensor {}, which its config.json asks for: are both of one model?",
                       name));
  }
  const StoredTensor& tensor = place->tensor;
  const fs::path& path = files_[place->file].path();
  if (tensor.shape != shape) {
    refuse(path, fmt::format("tensor {} is [{}], but config.json makes it [{}]", name,
                             fmt::join(tensor.shape, ", "), fmt::join(shape, ", ")));
  }
  if (tensor.dtype != "F32" && tensor.dtype != "BF16" && tensor.dtype != "F16") {
    refuse(path, fmt::format("tensor {} is {}; F32, BF16 and F16 can be read", name, tensor.dtype));
  }
  return tensor;
}

void ModelFolderReader::check_no_others(const std::vector<std::string>& names, bool tied) const {
  std::set<const StoredTensor*> known;
  for (const std::string& name : names) known.insert(find(name));
  for (const auto& [name, place] : tensors_) {
    if (known.count(&place.tensor) > 0 || is_constant(name)) continue;
    if (tied && name == "lm_head.weight") continue;
    refuse(files_[place.file].path(),
           fmt::format("tensor {} has no place in the model of config.json: are both of one model?",
                       printable(name)));
  }
}

// Tensors are elements of tensors_, which know their file.
const InputFile& ModelFolderReader::file_of(const StoredTensor& tensor) const {
  return files_[tensors_.at(tensor.name).file];
}

void ModelFolderReader::read(const StoredTensor& tensor, std::int64_t first,
                             std::span<float> out) const {
  read_safetensors_floats(file_of(tensor), tensor, first, out);
}

void ModelFolderReader::read_bytes(const StoredTensor& tensor, std::int64_t first,
                                   std::span<std::byte> out) const {
  read_safetensors_bytes(file_of(tensor), tensor, first, out);
}

void ModelFolderReader::read(const std::string& name, const std::vector<std::int64_t>& shape,
                             std::span<float> out) const {
  read(require(name, shape), 0, out);
}

}  // namespace sluice

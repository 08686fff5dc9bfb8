// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "devices/base/error.h"
#include "engine/files/model_folder.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

}  // namespace

ModelFolderReader::ModelFolderReader(const fs::path& folder) : folder_(folder) {
  const fs::path one = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(one)) {
    add_file(one);
  } else if (fs::exists(index)) {
    add_shards(index);
  } else {
    refuse(folder, "holds no model.safetensors and no model.safetensors.index.json");
  }
}

void ModelFolderReader::add_file(const fs::path& file) {
  for (StoredTensor& tensor : read_safetensors_header(file)) {
    const std::string name = tensor.name;
    if (!tensors_.try_emplace(name, Place{file, std::move(tensor)}).second) {
      refuse(file, fmt::format("tensor {} is in two shards", name));
    }
  }
}

void ModelFolderReader::add_shards(const fs::path& index) {
  std::ifstream in(index);
  const auto json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  std::map<std::string, std::string> files;
  try {
    files = json.at("weight_map").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception&) {
    refuse(index, "corrupt: no weight_map of tensor names to files");
  }
  std::set<std::string> distinct;
  for (const auto& [name, file] : files) distinct.insert(file);
  for (const std::string& file : distinct) {
    if (fs::path(file).has_parent_path()) refuse(index, fmt::format("names {}, outside", file));
    add_file(index.parent_path() / file);
  }
  for (const auto& [name, file] : files) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.file.filename() != file) {
      refuse(index, fmt::format("tensor {} is not in {}", name, file));
    }
  }
}

const ModelFolderReader::Place* ModelFolderReader::find(const std::string& name) const {
  static const std::string prefix = "transformer.";
  auto found = tensors_.find(name);
  if (found == tensors_.end() && name.rfind(prefix, 0) == 0) {
    found = tensors_.find(name.substr(prefix.size()));
  }
  return found == tensors_.end() ? nullptr : &found->second;
}

bool ModelFolderReader::has(const std::string& name) const { return find(name) != nullptr; }

void ModelFolderReader::read(const std::string& name, const std::vector<std::int64_t>& shape,
                             std::span<float> out) const {
  const Place* place = find(name);
  if (place == nullptr) refuse(folder_, fmt::format("has no tensor {}", name));
  if (place->tensor.shape != shape) {
    refuse(place->file, fmt::format("tensor {} is [{}], but config.json makes it [{}]", name,
                                    fmt::join(place->tensor.shape, ", "), fmt::join(shape, ", ")));
  }
  SLUICE_CHECK(static_cast<std::int64_t>(out.size()) ==
               (TensorHeader{name, DType::kFloat32, shape}.count()));
  read_safetensors_floats(place->file, place->tensor, 0, out);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "devices/base/error.h"
#include "engine/files/model_folder.h"
#include "engine/files/model_json.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr Bytes kLargestCompanion{256 << 20};

void write_whole(const fs::path& path, std::string_view text) {
  OutputFile out(path);
  out.write(text);
  out.sync();
}

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const char* name : kCompanions) {
    if (!has_entry(from, name)) continue;
    write_whole(to / name, InputFile(from, name).text(kLargestCompanion));
  }
}

std::string shard_name(std::size_t index, std::size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", index, count);
}

std::string dtype_of(const ModelFolderContent& content) {
  return content.tensors.empty() ? "F32" : content.tensors.front().dtype;
}

}  // namespace

bool is_model_file(const std::string& name) {
  if (name == "config.json" || name == "model.safetensors" ||
      name == "model.safetensors.index.json" || std::ranges::count(kCompanions, name) > 0) {
    return true;
  }
  std::size_t index = 0;
  std::size_t count = 0;
  return std::sscanf(name.c_str(), "model-%5zu-of-%5zu", &index, &count) == 2 &&
         name == shard_name(index, count);
}

std::vector<TensorHeader> missing_biases(const ModelShape& shape, DType dtype) {
  std::vector<TensorHeader> out;
  if (shape.family != Family::kGpt2 || shape.bias) return out;
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const std::string block = fmt::format("transformer.h.{}.", i);
    out.push_back({block + "ln_1.bias", dtype, {shape.width}});
    out.push_back({block + "attn.c_attn.bias", dtype, {3 * shape.width}});
    out.push_back({block + "attn.c_proj.bias", dtype, {shape.width}});
    out.push_back({block + "ln_2.bias", dtype, {shape.width}});
    out.push_back({block + "mlp.c_fc.bias", dtype, {shape.ffn_width}});
    out.push_back({block + "mlp.c_proj.bias", dtype, {shape.width}});
  }
  out.push_back({"transformer.ln_f.bias", dtype, {shape.width}});
  return out;
}

ModelFolderWriter::ModelFolderWriter(fs::path target, const ModelFolderContent& content)
    : target_(std::move(target)),
      partial_(target_.parent_path() / ("." + target_.filename().string() + ".partial")) {
  start(content);
}

ModelFolderWriter::ModelFolderWriter(fs::path target, const ModelShape& shape, DType dtype,
                                     std::vector<TensorHeader> tensors, fs::path companions)
    : target_(std::move(target)),
      partial_(target_.parent_path() / ("." + target_.filename().string() + ".partial")) {
  for (TensorHeader& bias : missing_biases(shape, dtype)) {
    zeros_ += bias.size();
    tensors.push_back(std::move(bias));
  }
  ModelFolderContent content{.shape = shape, .companions = std::move(companions)};
  for (const TensorHeader& tensor : tensors) content.tensors.push_back(to_stored(tensor));
  start(content);
}

void ModelFolderWriter::start(const ModelFolderContent& content) {
  plan_shards(content);
  try {
    fs::remove_all(partial_);  // of a run that was killed
    new_folder(partial_);
    const bool is_copy = !content.companions.empty();
    const DType dtype = dtype_of(content) == "F32" ? DType::kFloat32 : DType::kBFloat16;
    write_whole(partial_ / "config.json",
                is_copy
                    ? carry_model_json(content.companions, content.shape.tied, dtype_of(content))
                    : write_model_json(content.shape, dtype));
    if (is_copy) copy_companions(content.companions, partial_);
    open_shard();
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: cannot be written: {}", target_.string(), error.code().message()));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial_, ignored);
    throw;
  }
}

// As many tensors to a file as fit, in their order.
void ModelFolderWriter::plan_shards(const ModelFolderContent& content) {
  for (const StoredTensor& tensor : content.tensors) {
    if (shards_.empty() || shards_.back().left + tensor.size > content.max_shard) {
      if (shards_.empty() || !shards_.back().tensors.empty()) shards_.emplace_back();
    }
    shards_.back().tensors.push_back(tensor);
    shards_.back().left += tensor.size;
  }
  if (shards_.empty()) shards_.emplace_back();
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].name = shards_.size() == 1 ? "model.safetensors" : shard_name(i + 1, shards_.size());
  }
}

void ModelFolderWriter::open_shard() {
  const Shard& shard = shards_[shard_];
  weights_ = std::make_unique<SafetensorsWriter>(partial_ / shard.name, shard.tensors);
}

void ModelFolderWriter::close_shard() {
  weights_->finish();
  weights_.reset();
  if (++shard_ < shards_.size()) open_shard();
}

ModelFolderWriter::~ModelFolderWriter() {
  weights_.reset();
  std::error_code ignored;
  fs::remove_all(partial_, ignored);  // gone already after finish()
}

void ModelFolderWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    SLUICE_CHECK(shard_ < shards_.size());
    Bytes& left = shards_[shard_].left;
    const auto part = bytes.first(std::min(bytes.size(), count(left)));
    weights_->write(part);
    left -= Bytes{static_cast<std::int64_t>(part.size())};
    bytes = bytes.subspan(part.size());
    if (left.value == 0) close_shard();
  }
}

fs::path ModelFolderWriter::sync() {
  constexpr std::array<std::byte, 4096> kZeros{};
  while (zeros_.value > 0) {
    const auto part = std::span(kZeros).first(std::min(kZeros.size(), count(zeros_)));
    write(part);
    zeros_ -= Bytes{static_cast<std::int64_t>(part.size())};
  }
  while (shard_ < shards_.size()) close_shard();  // of tensors without bytes; or a bug: checked
  if (shards_.size() > 1) {
    Bytes total;
    std::vector<std::pair<std::string, std::string>> files;
    for (const Shard& shard : shards_) {
      for (const StoredTensor& tensor : shard.tensors) {
        files.emplace_back(tensor.name, shard.name);
        total += tensor.size;
      }
    }
    write_whole(partial_ / "model.safetensors.index.json", write_shard_index(files, total));
  }
  sync_folder(partial_);
  return partial_;
}

void ModelFolderWriter::finish() {
  sync();
  replace_folder(partial_, target_);
}

}  // namespace sluice

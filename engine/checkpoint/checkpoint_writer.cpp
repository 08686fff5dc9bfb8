// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_writer.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>
#include <cerrno>
#include <chrono>

#include "devices/base/error.h"
#include "devices/file_calls.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checksum.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Of this process and attempt: a name is never used twice.
std::string temporary_name(std::int64_t step) {
  static std::atomic<int> attempts{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return fmt::format("{}.tmp-{}-{:x}-{}", checkpoint_name(step), ::getpid(),
                     std::chrono::duration_cast<std::chrono::microseconds>(now).count(),
                     attempts.fetch_add(1));
}

}  // namespace

CheckpointWriter::CheckpointWriter(const fs::path& folder, const CheckpointLayout& layout,
                                   std::int64_t step)
    : layout_(layout),
      step_(step),
      folder_(folder),
      partial_(folder / temporary_name(step)),
      checksums_(static_cast<std::size_t>(layout.chunks)) {
  for (const CheckpointTensor& tensor : layout.tensors) {
    salts_.push_back(checksum_salt(step, tensor.part, tensor.header.name));
    left_ += tensor.header.size();
  }
  try {
    if (!fs::exists(folder)) {
      new_folder(folder);
      sync_folder(folder.parent_path());
    }
    new_folder(partial_);
    for (std::size_t i = 0; i < files_.size(); ++i) {
      files_[i] = std::make_unique<OutputFile>(partial_ / file_of(kSavedParts[i]));
      files_[i]->reserve(layout.files[i].size);
      files_[i]->write_at({}, std::as_bytes(std::span(layout.files[i].header)));
    }
  } catch (...) {
    remove_tree(partial_);
    throw;
  }
}

CheckpointWriter::~CheckpointWriter() {
  for (std::unique_ptr<OutputFile>& file : files_) file.reset();
  if (!partial_.empty()) remove_tree(partial_);
}

void CheckpointWriter::write(const StatePiece& piece) {
  const CheckpointTensor& tensor = layout_.tensor(piece.part, piece.flat, piece.tensor);
  const std::int64_t width = size_of(tensor.header.dtype);
  files_[CheckpointLayout::part_index(piece.part)]->write_at(
      {tensor.offset.value + width * piece.first}, piece.bytes);
  const auto index = static_cast<std::size_t>(&tensor - layout_.tensors.data());
  add_to_checksums(salts_[index], tensor.header.dtype, piece.first, piece.bytes,
                   std::span(checksums_)
                       .subspan(static_cast<std::size_t>(tensor.first_chunk),
                                static_cast<std::size_t>(tensor.chunks())));
  left_ -= Bytes{static_cast<std::int64_t>(piece.bytes.size())};
}

fs::path CheckpointWriter::commit(const RunState& run, const CheckpointFacts& facts) {
  SLUICE_CHECK(left_.value == 0 && run.step == step_);
  for (std::unique_ptr<OutputFile>& file : files_) {
    file->sync();
    file.reset();
  }
  put("manifest.json", to_json(manifest(run, facts)));
  sync_folder(partial_);
  const fs::path target = folder_ / checkpoint_name(step_);
  replace_folder(partial_, target);
  partial_.clear();
  return target;
}

ManifestFile CheckpointWriter::put(const char* name, const std::string& text) const {
  OutputFile file(partial_ / name);
  file.write(text);
  file.sync();
  return {name, {static_cast<std::int64_t>(text.size())}, XXH3_64bits(text.data(), text.size())};
}

Manifest CheckpointWriter::manifest(const RunState& run, const CheckpointFacts& facts) const {
  Manifest manifest{.run = run, .data = facts.data, .config = facts.config};
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const CheckpointLayout::File& file = layout_.files[i];
    manifest.files.push_back({std::string(file_of(kSavedParts[i])), file.size,
                              XXH3_64bits(file.header.data(), file.header.size())});
  }
  manifest.files.push_back(put("config.json", facts.config_json));
  manifest.files.push_back(put("config.toml", facts.config_toml));
  for (const CheckpointTensor& tensor : layout_.tensors) {
    const auto first = checksums_.begin() + tensor.first_chunk;
    manifest.tensors.push_back({.file = std::string(file_of(tensor.part)),
                                .name = tensor.header.name,
                                .dtype = tensor.header.dtype,
                                .shape = tensor.header.shape,
                                .offset = tensor.offset,
                                .checksums = {first, first + tensor.chunks()}});
  }
  return manifest;
}

}  // namespace sluice

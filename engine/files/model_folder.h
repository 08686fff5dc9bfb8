// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A Hugging Face model folder: config.json, safetensors in one file or in shards with
// an index, and small files beside them that only other programs read.

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/base/dtype.h"
#include "engine/files/safetensors.h"
#include "engine/model/model_shape.h"

namespace sluice {

// What other programs need beside the weights.
inline constexpr std::array kCompanions{"tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "vocab.json",
                                        "merges.txt",
                                        "special_tokens_map.json",
                                        "vocab.txt",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "generation_config.json",
                                        "preprocessor_config.json"};

struct ModelFolderContent {
  ModelShape shape;
  std::vector<StoredTensor> tensors;  // in the order of writing, under Hugging Face's names
  // The folder whose config.json, tokenizer and generation settings the new one takes
  // over; empty: config.json is written from the shape, and there are no others.
  std::filesystem::path companions{};
  Bytes max_shard{5'000'000'000};  // of tensors in one file, unless one alone is larger
};

// Writes a folder that appears at `target` when it is whole, in the place of an
// older one. Until finish() the work lies under a temporary name beside it;
// without finish() it is removed.
//
// Errors   Error{kIo}; Error{kData} of the companions.
class ModelFolderWriter {
 public:
  ModelFolderWriter(std::filesystem::path target, const ModelFolderContent& content);
  // `tensors` as training holds them. A gpt2 without biases gets biases of zero in the
  // file, since transformers has no such model.
  ModelFolderWriter(std::filesystem::path target, const ModelShape& shape, DType dtype,
                    std::vector<TensorHeader> tensors, std::filesystem::path companions = {});
  ~ModelFolderWriter();
  ModelFolderWriter(const ModelFolderWriter&) = delete;
  ModelFolderWriter& operator=(const ModelFolderWriter&) = delete;

  // The bytes of the tensors in their order, in pieces of any size.
  void write(std::span<const std::byte> bytes);

  // Makes every file durable, and returns the folder's temporary name: to be read back.
  std::filesystem::path sync();

  // Syncs, and puts the folder in place.
  void finish();

 private:
  struct Shard {
    std::string name;
    std::vector<StoredTensor> tensors;
    Bytes left{};
  };

  void start(const ModelFolderContent& content);
  void plan_shards(const ModelFolderContent& content);
  void open_shard();
  void close_shard();

  std::filesystem::path target_, partial_;
  Bytes zeros_{};  // of the added biases
  std::vector<Shard> shards_;
  std::size_t shard_ = 0;  // the one being written
  std::unique_ptr<SafetensorsWriter> weights_;
};

// Whether a reader finds weights there, sound or not.
bool holds_weights(const std::filesystem::path& folder);

// Whether a writer makes or copies a file of this name.
bool is_model_file(const std::string& name);

// The biases of a gpt2 that has none: transformers wants them, as zeros.
std::vector<TensorHeader> missing_biases(const ModelShape& shape, DType dtype);

// model.safetensors.index.json as text.
std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& tensor_files,
                              Bytes total);

// Which file of a folder holds each tensor, by name. Error{kData}: `text`, called `name`
// in messages, is no index, or names a file that is none of its folder.
std::map<std::string, std::string> parse_shard_index(const std::string& text,
                                                     const std::string& name);

// The weights of a folder: model.safetensors, or the shards that
// model.safetensors.index.json names. Headers are held and files kept open; no weights.
//
// Threads  reads may run at once.
// Errors   Error{kData} with the file and the tensor; Error{kIo} of the drive.
class ModelFolderReader {
 public:
  explicit ModelFolderReader(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t tensors() const { return std::ssize(tensors_); }

  // The tensor, or nullptr. A prefix ("transformer.", "model.") may be missing in the
  // folder, as in files of the hub.
  const StoredTensor* find(const std::string& name) const;
  bool has(const std::string& name) const { return find(name) != nullptr; }

  // The tensor `name`, whose stored shape must be `shape` and whose type one of F32,
  // BF16 and F16.
  const StoredTensor& require(const std::string& name,
                              const std::vector<std::int64_t>& shape) const;

  // Refuses tensors that are none of `names`, unless they change nothing: masks and
  // frequencies that old versions stored, and the head where it is tied.
  void check_no_others(const std::vector<std::string>& names, bool tied) const;

  // Elements first, first + 1, ... of what require() gave.
  void read(const StoredTensor& tensor, std::int64_t first, std::span<float> out) const;
  void read_bytes(const StoredTensor& tensor, std::int64_t first, std::span<std::byte> out) const;

  // All of a tensor as floats.
  void read(const std::string& name, const std::vector<std::int64_t>& shape,
            std::span<float> out) const;

 private:
  struct Place {
    std::size_t file = 0;  // index into files_
    StoredTensor tensor;
  };

  void add_file(const std::string& name);
  void add_shards(const std::string& index);
  const Place* place_of(const std::string& name) const;
  const InputFile& file_of(const StoredTensor& tensor) const;

  std::filesystem::path folder_;
  std::vector<InputFile> files_;
  std::map<std::string, Place> tensors_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A Hugging Face model folder: config.json and safetensors.

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

// Writes a folder that appears at `target` when it is whole, in the place of an
// older one. Until finish() the work lies under a temporary name beside it;
// without finish() it is removed.
//
// Errors   Error{kIo}.
class ModelFolderWriter {
 public:
  // `tensors` under Hugging Face's names. A gpt2 without biases gets biases of
  // zero in the file, since transformers has no such model.
  ModelFolderWriter(std::filesystem::path target, const ModelShape& shape, DType dtype,
                    std::vector<TensorHeader> tensors);
  ~ModelFolderWriter();
  ModelFolderWriter(const ModelFolderWriter&) = delete;
  ModelFolderWriter& operator=(const ModelFolderWriter&) = delete;

  // The bytes of `tensors` in their order, in pieces of any size.
  void write(std::span<const std::byte> bytes);

  void finish();

 private:
  std::filesystem::path target_, partial_;
  Bytes zeros_;  // of the added biases
  std::unique_ptr<SafetensorsWriter> weights_;
};

// The weights of a folder: model.safetensors, or the shards that
// model.safetensors.index.json names. Only headers are held.
//
// Errors   Error{kData} with the file and the tensor.
class ModelFolderReader {
 public:
  explicit ModelFolderReader(const std::filesystem::path& folder);

  bool has(const std::string& name) const;

  // All of a tensor as floats. Its stored shape must be `shape`. The prefix
  // "transformer." may be missing in the folder, as in files of the hub.
  void read(const std::string& name, const std::vector<std::int64_t>& shape,
            std::span<float> out) const;

 private:
  struct Place {
    std::filesystem::path file;
    StoredTensor tensor;
  };

  void add_file(const std::filesystem::path& file);
  void add_shards(const std::filesystem::path& index);
  const Place* find(const std::string& name) const;

  std::filesystem::path folder_;
  std::map<std::string, Place> tensors_;
};

}  // namespace sluice

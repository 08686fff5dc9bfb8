// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// safetensors: an 8-byte little-endian length, a JSON header of that length
// {name: {dtype, shape, data_offsets}}, then the tensors end to end. Tensors are
// streamed one by one, so nobody holds a second copy of a model.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "engine/files/output_file.h"

namespace sluice {

struct TensorHeader {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;

  std::int64_t count() const;  // elements
  Bytes size() const { return bytes_of(dtype, count()); }
};

// What a file of these tensors begins with: the length, and the header padded so that the
// data lie 8-byte aligned. The tensors follow in this order. Names are unique.
std::string safetensors_header(const std::vector<TensorHeader>& tensors);

// Errors   Error{kIo}.
class SafetensorsWriter {
 public:
  // Writes the header. Names are unique.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorHeader>& tensors);

  // The bytes of the tensors in the order of the header, in pieces of any size.
  void write(std::span<const std::byte> bytes);

  // Syncs. Requires that every byte was written.
  void finish();

 private:
  OutputFile file_;
  Bytes left_;
};

struct StoredTensor {
  std::string name;
  std::string dtype;  // as stored: "F32", "BF16", "F16", "I64", ...
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // in the file
  Bytes size;
};

// The tensors of a file, by ascending offset. Error{kData} where the file is
// missing, or breaks the format in any way: a header longer than the file or
// 100 MB, a shape that does not match its bytes, a gap, an overlap, a short file.
std::vector<StoredTensor> read_safetensors_header(const std::filesystem::path& path);

// Elements first, first + 1, ... of `tensor`, which lies in `path` and is of F32,
// BF16 or F16. Error{kData}: another type, or a file that was cut.
void read_safetensors_floats(const std::filesystem::path& path, const StoredTensor& tensor,
                             std::int64_t first, std::span<float> out);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// safetensors: an 8-byte little-endian length, a JSON header of that length
// {name: {dtype, shape, data_offsets}}, then the tensors end to end. Tensors are
// streamed one by one, so nobody holds a second copy of a model.
//
// Files are not trusted. Where the format's reference reader would accept more, we
// refuse: a key that stands twice, fields besides the three, metadata that is null, space
// before the header, more than a million tensors or 16 dimensions, types that are none of
// stored_width().

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "engine/files/input_file.h"
#include "engine/files/output_file.h"

namespace sluice {

struct TensorHeader {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;

  std::int64_t count() const;  // elements
  Bytes size() const { return bytes_of(dtype, count()); }
};

struct StoredTensor {
  std::string name;
  std::string dtype;  // as stored: "F32", "BF16", "F16", "I64", ...
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // in the file
  Bytes size;
};

// A tensor to be written; its place follows from its turn.
StoredTensor to_stored(const TensorHeader& tensor);

// What a file of these tensors begins with: the length, and the header padded so that the
// data lie 8-byte aligned. The tensors follow in this order. Names are unique.
std::string safetensors_header(const std::vector<StoredTensor>& tensors);
std::string safetensors_header(const std::vector<TensorHeader>& tensors);

// Errors   Error{kIo}.
class SafetensorsWriter {
 public:
  // Writes the header. Names are unique.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorHeader>& tensors);
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<StoredTensor>& tensors);

  // The bytes of the tensors in the order of the header, in pieces of any size.
  void write(std::span<const std::byte> bytes);

  // Syncs. Requires that every byte was written.
  void finish();

 private:
  OutputFile file_;
  Bytes left_;
};

// The tensors of a file, by ascending offset. Error{kData} with file and tensor where
// the format is broken in any way: a header longer than the file or 100 MB, a shape
// that does not match its bytes, a gap, an overlap, a file too short or too long.
std::vector<StoredTensor> read_safetensors_header(const InputFile& file);
std::vector<StoredTensor> read_safetensors_header(const std::filesystem::path& path);

// Bytes of one element, 0 where `dtype` is unknown.
std::int64_t stored_width(std::string_view dtype);

// Elements first, first + 1, ... of `tensor`, which lies in `file` and is of F32,
// BF16 or F16. Error{kData}: another type, or a file that was cut.
void read_safetensors_floats(const InputFile& file, const StoredTensor& tensor, std::int64_t first,
                             std::span<float> out);

// Bytes of `tensor` as they are stored, from byte `first` of it on.
void read_safetensors_bytes(const InputFile& file, const StoredTensor& tensor, std::int64_t first,
                            std::span<std::byte> out);

}  // namespace sluice

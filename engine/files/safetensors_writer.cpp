// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "devices/base/error.h"
#include "engine/files/safetensors.h"

namespace sluice {
namespace {

// The header with spaces behind it, so that the data begins 8-byte aligned.
std::string header_text(const std::vector<StoredTensor>& tensors) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  std::set<std::string> names;
  std::int64_t at = 0;
  for (const StoredTensor& tensor : tensors) {
    SLUICE_CHECK(names.insert(tensor.name).second);
    const std::int64_t end = at + tensor.size.value;
    const nlohmann::ordered_json entry = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    text += fmt::format(",{}:{}", nlohmann::json(tensor.name).dump(), entry.dump());
    at = end;
  }
  text += '}';
  text.resize(static_cast<std::size_t>(round_up(static_cast<std::int64_t>(text.size()), 8)), ' ');
  return text;
}

}  // namespace

std::int64_t TensorHeader::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

StoredTensor to_stored(const TensorHeader& tensor) {
  return {.name = tensor.name,
          .dtype = tensor.dtype == DType::kFloat32 ? "F32" : "BF16",
          .shape = tensor.shape,
          .size = tensor.size()};
}

namespace {

std::vector<StoredTensor> stored_of(const std::vector<TensorHeader>& tensors) {
  std::vector<StoredTensor> stored;
  for (const TensorHeader& tensor : tensors) stored.push_back(to_stored(tensor));
  return stored;
}

}  // namespace

std::string safetensors_header(const std::vector<StoredTensor>& tensors) {
  const std::string header = header_text(tensors);
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header;
}

std::string safetensors_header(const std::vector<TensorHeader>& tensors) {
  return safetensors_header(stored_of(tensors));
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<TensorHeader>& tensors)
    : SafetensorsWriter(path, stored_of(tensors)) {}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<StoredTensor>& tensors)
    : file_(path) {
  file_.write(safetensors_header(tensors));
  for (const StoredTensor& tensor : tensors) left_ += tensor.size;
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  left_ -= Bytes{static_cast<std::int64_t>(bytes.size())};
  SLUICE_CHECK(left_.value >= 0);
  file_.write(bytes);
}

void SafetensorsWriter::finish() {
  SLUICE_CHECK(left_.value == 0);
  file_.sync();
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "devices/base/error.h"
#include "engine/files/safetensors.h"

namespace sluice {
namespace {

const char* stored_name(DType dtype) { return dtype == DType::kFloat32 ? "F32" : "BF16"; }

// The header with spaces behind it, so that the data begins 8-byte aligned.
std::string header_text(const std::vector<TensorHeader>& tensors) {
  nlohmann::ordered_json json;
  json["__metadata__"] = {{"format", "pt"}};
  std::int64_t at = 0;
  for (const TensorHeader& tensor : tensors) {
    SLUICE_CHECK(!json.contains(tensor.name));
    const std::int64_t end = at + tensor.size().value;
    json[tensor.name] = {
        {"dtype", stored_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = json.dump();
  text.resize(static_cast<std::size_t>(round_up(static_cast<std::int64_t>(text.size()), 8)), ' ');
  return text;
}

}  // namespace

std::int64_t TensorHeader::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::string safetensors_header(const std::vector<TensorHeader>& tensors) {
  const std::string header = header_text(tensors);
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<TensorHeader>& tensors)
    : file_(path) {
  file_.write(safetensors_header(tensors));
  for (const TensorHeader& tensor : tensors) left_ += tensor.size();
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

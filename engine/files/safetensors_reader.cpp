// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "devices/base/bf16.h"
#include "devices/base/error.h"
#include "engine/files/safetensors.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLongestHeader = 100'000'000;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

std::int64_t width_of(const std::string& dtype) {
  static const std::map<std::string, std::int64_t> widths{
      {"F64", 8}, {"I64", 8}, {"U64", 8},  {"F32", 4},     {"I32", 4},
      {"U32", 4}, {"F16", 2}, {"BF16", 2}, {"I16", 2},     {"U16", 2},
      {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  const auto found = widths.find(dtype);
  return found == widths.end() ? 0 : found->second;
}

// Bytes of a shape, or -1 where it is none or too large to count.
std::int64_t bytes_of_shape(const std::vector<std::int64_t>& shape, std::int64_t width) {
  std::int64_t bytes = width;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return -1;
  }
  return bytes;
}

StoredTensor read_entry(const std::filesystem::path& path, const std::string& name,
                        const Json& entry, std::int64_t data_begin) {
  StoredTensor tensor;
  tensor.name = name;
  std::vector<std::int64_t> offsets;
  try {
    tensor.dtype = entry.at("dtype").get<std::string>();
    tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
    offsets = entry.at("data_offsets").get<std::vector<std::int64_t>>();
  } catch (const Json::exception&) {
    refuse(path,
           fmt::format("corrupt header: tensor {} has no dtype, shape and data_offsets", name));
  }
  const std::int64_t width = width_of(tensor.dtype);
  if (width == 0) refuse(path, fmt::format("tensor {} has unknown dtype {}", name, tensor.dtype));
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] ||
      offsets[1] - offsets[0] != bytes_of_shape(tensor.shape, width)) {
    refuse(path,
           fmt::format("corrupt header: the bytes of tensor {} do not match its shape", name));
  }
  tensor.offset = data_begin + offsets[0];
  tensor.size = {offsets[1] - offsets[0]};
  return tensor;
}

Json read_json_header(const std::filesystem::path& path, std::ifstream& in, std::int64_t size,
                      std::int64_t& data_begin) {
  std::uint64_t length = 0;
  in.read(reinterpret_cast<char*>(&length), sizeof(length));
  if (!in) refuse(path, fmt::format("{} bytes are too short for safetensors", size));
  if (length > static_cast<std::uint64_t>(std::min(size - 8, kLongestHeader))) {
    refuse(path, fmt::format("corrupt: a header of {} bytes in a file of {}", length, size));
  }
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  if (!in) refuse(path, "is cut within its header");
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) refuse(path, "corrupt: the header is no JSON object");
  data_begin = 8 + static_cast<std::int64_t>(length);
  return json;
}

float half_to_float(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const auto fraction = static_cast<float>(bits & 1023);
  float magnitude =
      std::ldexp(exponent == 0 ? fraction : fraction + 1024.0F, std::max(exponent, 1) - 25);
  if (exponent == 31) magnitude = fraction == 0 ? INFINITY : NAN;
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

void widen(const std::string& dtype, const char* raw, std::span<float> out) {
  if (dtype == "F32") {
    std::memcpy(out.data(), raw, out.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, raw + 2 * i, sizeof(bits));
    out[i] = dtype == "BF16" ? to_float(bf16{bits}) : half_to_float(bits);
  }
}

}  // namespace

std::vector<StoredTensor> read_safetensors_header(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) refuse(path, "no such file, or not readable");
  const std::int64_t size = in.tellg();
  in.seekg(0);
  std::int64_t data_begin = 0;
  const Json json = read_json_header(path, in, size, data_begin);

  std::vector<StoredTensor> tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name != "__metadata__") tensors.push_back(read_entry(path, name, entry, data_begin));
  }
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.size.value) < std::pair(b.offset, b.size.value);
  });
  std::int64_t at = data_begin;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.offset != at) {
      refuse(path, fmt::format("corrupt: a gap or an overlap before tensor {}", tensor.name));
    }
    at += tensor.size.value;
  }
  if (at != size) {
    refuse(path, fmt::format("corrupt: the header describes {} bytes, the file has {}", at, size));
  }
  return tensors;
}

void read_safetensors_floats(const std::filesystem::path& path, const StoredTensor& tensor,
                             std::int64_t first, std::span<float> out) {
  if (tensor.dtype != "F32" && tensor.dtype != "BF16" && tensor.dtype != "F16") {
    refuse(path, fmt::format("tensor {} is {}; F32, BF16 and F16 can be read", tensor.name,
                             tensor.dtype));
  }
  const std::int64_t width = width_of(tensor.dtype);
  SLUICE_CHECK(first >= 0 &&
               (first + static_cast<std::int64_t>(out.size())) * width <= tensor.size.value);
  std::ifstream in(path, std::ios::binary);
  in.seekg(tensor.offset + first * width);
  std::array<char, 32 << 10> raw;
  while (!out.empty()) {
    const std::span<float> block =
        out.first(std::min(out.size(), raw.size() / static_cast<std::size_t>(width)));
    in.read(raw.data(), static_cast<std::streamsize>(block.size()) * width);
    if (!in) refuse(path, fmt::format("tensor {} cannot be read: the file was cut", tensor.name));
    widen(tensor.dtype, raw.data(), block);
    out = out.subspan(block.size());
  }
}

}  // namespace sluice

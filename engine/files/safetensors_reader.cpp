// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "devices/base/bf16.h"
#include "devices/base/error.h"
#include "devices/base/format.h"
#include "engine/files/safetensors.h"

namespace sluice {
namespace {

float half_to_float(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const auto fraction = static_cast<float>(bits & 1023);
  float magnitude =
      std::ldexp(exponent == 0 ? fraction : fraction + 1024.0F, std::max(exponent, 1) - 25);
  if (exponent == 31) magnitude = fraction == 0 ? INFINITY : NAN;
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

void widen(const std::string& dtype, const std::byte* raw, std::span<float> out) {
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

void read_safetensors_floats(const InputFile& file, const StoredTensor& tensor, std::int64_t first,
                             std::span<float> out) {
  if (tensor.dtype != "F32" && tensor.dtype != "BF16" && tensor.dtype != "F16") {
    throw Error(ErrorKind::kData,
                fmt::format("{}: tensor {} is {}; F32, BF16 and F16 can be read",
                            file.path().string(), printable(tensor.name), tensor.dtype));
  }
  const std::int64_t width = stored_width(tensor.dtype);
  std::array<std::byte, 32 << 10> raw;
  while (!out.empty()) {
    const std::span<float> block =
        out.first(std::min(out.size(), raw.size() / static_cast<std::size_t>(width)));
    const std::size_t bytes = block.size() * static_cast<std::size_t>(width);
    read_safetensors_bytes(file, tensor, first * width, std::span(raw).first(bytes));
    widen(tensor.dtype, raw.data(), block);
    first += static_cast<std::int64_t>(block.size());
    out = out.subspan(block.size());
  }
}

void read_safetensors_bytes(const InputFile& file, const StoredTensor& tensor, std::int64_t first,
                            std::span<std::byte> out) {
  SLUICE_CHECK(first >= 0 && first + static_cast<std::int64_t>(out.size()) <= tensor.size.value);
  file.read(tensor.offset + first, out);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/strict_json.h"
#include "engine/files/safetensors.h"

namespace sluice {
namespace {

constexpr std::int64_t kLongestHeader = 100'000'000;
constexpr std::size_t kMostTensors = 1'000'000;
constexpr std::size_t kMostDimensions = 16;
constexpr std::int64_t kNone = -1;

// Bytes of a shape, or kNone where it is none or too large to count.
std::int64_t bytes_of_shape(const std::vector<std::int64_t>& shape, std::int64_t width) {
  std::int64_t bytes = width;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return kNone;
  }
  return bytes;
}

// Depth 1 is the header, 2 a tensor or the metadata, 3 a shape or offsets.
class HeaderReader final : public JsonEvents {
 public:
  explicit HeaderReader(const std::filesystem::path& path) : path_(path) {}

  std::vector<StoredTensor> take() { return std::move(tensors_); }

  void begin(bool object) override {
    ++depth_;
    if (depth_ == 1 && object) return;
    if (depth_ == 2 && object) return in_metadata_ ? void() : begin_tensor();
    const bool of_numbers = field_ == "shape" || field_ == "data_offsets";
    if (depth_ != 3 || object || in_metadata_ || !of_numbers) refuse_value();
    has_shape_ = has_shape_ || field_ == "shape";
  }

  void end() override {
    if (depth_ == 2 && !in_metadata_) end_tensor();
    --depth_;
  }

  void key(std::string_view name) override {
    if (depth_ == 2) {
      field_ = name;
      const bool is_known = field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
      if (!in_metadata_ && !is_known) refuse("is no field of a tensor");
      return;
    }
    field_.clear();
    in_metadata_ = name == "__metadata__";
    name_ = name;
  }

  void text(std::string_view value) override {
    if (in_metadata_ && depth_ == 2) return;
    if (depth_ != 2 || field_ != "dtype") refuse_value();
    if (stored_width(value) == 0) refuse(fmt::format("is unknown: {}", printable(value)));
    tensor_.dtype = value;
  }

  void integer(std::int64_t value) override {
    if (depth_ != 3) refuse_value();
    if (value < 0) refuse("is negative");
    if (field_ == "data_offsets") {
      if (offset_count_ == 2) refuse("has more than two numbers");
      offsets_[offset_count_++] = value;
      return;
    }
    if (tensor_.shape.size() == kMostDimensions) {
      refuse(fmt::format("has more than {} dimensions", kMostDimensions));
    }
    tensor_.shape.push_back(value);
  }

  void other() override { refuse_value(); }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    std::string at = name_.empty() ? "" : fmt::format("tensor {}: ", printable(name_));
    if (!field_.empty()) at += printable(field_) + " ";
    throw Error(ErrorKind::kData,
                fmt::format("{}: corrupt header: {}{}", path_.string(), at, what));
  }
  [[noreturn]] void refuse_value() const { refuse("has a value of the wrong kind"); }

  void begin_tensor() {
    if (tensors_.size() == kMostTensors) {
      field_.clear();
      refuse(fmt::format("is one too many: at most {} tensors are read", kMostTensors));
    }
    tensor_ = {};
    tensor_.name = name_;
    tensor_.offset = kNone;
    offset_count_ = 0;
    has_shape_ = false;
  }

  void end_tensor() {
    field_.clear();
    if (tensor_.dtype.empty()) refuse("has no dtype");
    if (!has_shape_) refuse("has no shape");
    if (offset_count_ != 2) refuse("data_offsets are not two numbers");
    if (offsets_[1] < offsets_[0]) refuse("data_offsets end before they begin");
    tensor_.offset = offsets_[0];
    tensor_.size = {offsets_[1] - offsets_[0]};
    if (tensor_.size.value != bytes_of_shape(tensor_.shape, stored_width(tensor_.dtype))) {
      refuse(fmt::format("its bytes ({}) do not match its shape", tensor_.size.value));
    }
    tensors_.push_back(std::move(tensor_));
  }

  const std::filesystem::path& path_;
  int depth_ = 0;
  bool in_metadata_ = false, has_shape_ = false;
  std::string name_, field_;
  StoredTensor tensor_;
  std::array<std::int64_t, 2> offsets_{};
  std::size_t offset_count_ = 0;
  std::vector<StoredTensor> tensors_;
};

// Ascending, end to end, from the header to the end of the file: so nothing is hidden
// between tensors, and no two share a byte. Tensors of no bytes stand between others.
void check_layout(const InputFile& file, std::int64_t begin, std::vector<StoredTensor>& tensors) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kData, fmt::format("{}: corrupt: {}", file.path().string(), what));
  };
  std::ranges::sort(tensors, [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.size.value) < std::pair(b.offset, b.size.value);
  });
  std::int64_t at = 0;
  for (StoredTensor& tensor : tensors) {
    if (tensor.offset != at) {
      refuse(fmt::format("a gap or an overlap before tensor {}: data_offsets begin at {}, not {}",
                         printable(tensor.name), tensor.offset, at));
    }
    at += tensor.size.value;  // its data_offsets' end: no overflow
  }
  if (at != file.size() - begin) {
    refuse(fmt::format("the header describes {} bytes of tensors, the file has {}", at,
                       file.size() - begin));
  }
  for (StoredTensor& tensor : tensors) tensor.offset += begin;
}

}  // namespace

std::int64_t stored_width(std::string_view dtype) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 15> kWidths{{{"F64", 8},
                                                                               {"I64", 8},
                                                                               {"U64", 8},
                                                                               {"F32", 4},
                                                                               {"I32", 4},
                                                                               {"U32", 4},
                                                                               {"F16", 2},
                                                                               {"BF16", 2},
                                                                               {"I16", 2},
                                                                               {"U16", 2},
                                                                               {"I8", 1},
                                                                               {"U8", 1},
                                                                               {"BOOL", 1},
                                                                               {"F8_E4M3", 1},
                                                                               {"F8_E5M2", 1}}};
  for (const auto& [name, width] : kWidths) {
    if (dtype == name) return width;
  }
  return 0;
}

std::vector<StoredTensor> read_safetensors_header(const InputFile& file) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kData, fmt::format("{}: {}", file.path().string(), what));
  };
  constexpr std::int64_t kPrefix = 8;
  if (file.size() < kPrefix + 2) {
    refuse(fmt::format("{} bytes are too short for safetensors", file.size()));
  }
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > static_cast<std::uint64_t>(std::min(file.size() - kPrefix, kLongestHeader))) {
    refuse(fmt::format("corrupt: a header of {} bytes in a file of {}", length, file.size()));
  }
  // Before a hundred megabytes of something else are read.
  char first = 0;
  file.read(kPrefix, std::as_writable_bytes(std::span(&first, 1)));
  if (first != '{') refuse("corrupt: the header is no JSON object");
  std::string text(length, '\0');
  file.read(kPrefix, std::as_writable_bytes(std::span(text)));

  HeaderReader reader(file.path());
  read_strict_json(text, file.path().string() + ": corrupt header", ErrorKind::kData, reader);
  std::vector<StoredTensor> tensors = reader.take();
  check_layout(file, kPrefix + static_cast<std::int64_t>(length), tensors);
  return tensors;
}

std::vector<StoredTensor> read_safetensors_header(const std::filesystem::path& path) {
  return read_safetensors_header(InputFile(path));
}

}  // namespace sluice

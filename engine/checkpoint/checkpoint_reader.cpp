// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_reader.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "devices/base/bf16.h"
#include "devices/base/error.h"
#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checksum.h"
#include "engine/files/input_file.h"
#include "offload/tensor_range.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// A trillion parameters have a manifest of 150 MB.
constexpr Bytes kLongestManifest{std::int64_t{1} << 30};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

// The headers of one file's tensors, as they were written.
std::vector<TensorHeader> headers_of(const Manifest& manifest, const std::string& file) {
  std::vector<TensorHeader> headers;
  for (const ManifestTensor& tensor : manifest.tensors) {
    if (tensor.file == file) headers.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  return headers;
}

}  // namespace

// The chunks of one part, read and compared one after the other, in pieces as large as `bytes`;
// of a whole chunk, that is where it is held.
class CheckpointReader::Chunks {
 public:
  Chunks(const CheckpointReader& reader, StatePart part, std::span<std::byte> bytes)
      : reader_(reader),
        part_(part),
        path_(reader.folder_ / file_of(part)),
        file_(reader.folder_, std::string(file_of(part))),
        bytes_(bytes) {}

  void read_past_cache() { file_.read_past_cache(); }
  void after_each_piece(const std::function<void()>& call) { after_piece_ = call; }

  void check(const ManifestTensor& tensor) {
    for (std::int64_t chunk = 0; chunk * kChunkElements < tensor.count(); ++chunk) {
      read(tensor, chunk);
    }
  }

  // Element `index` of a tensor and those behind it in its chunk.
  std::span<const std::byte> at(const ManifestTensor& tensor, std::int64_t index) {
    const std::int64_t chunk = index / kChunkElements;
    if (&tensor != tensor_ || chunk != chunk_) read(tensor, chunk);
    return bytes_.subspan(
        static_cast<std::size_t>(size_of(tensor.dtype) * (index - chunk * kChunkElements)),
        static_cast<std::size_t>(size_of(tensor.dtype) * (end_ - index)));
  }

 private:
  void read(const ManifestTensor& tensor, std::int64_t chunk) {
    tensor_ = nullptr;  // what is held is no good from here on
    const std::int64_t first = chunk * kChunkElements;
    end_ = std::min(tensor.count(), first + kChunkElements);
    const std::int64_t width = size_of(tensor.dtype);
    const Bytes offset{tensor.offset.value + width * first};
    const auto broken = [&](const char* what) {
      refuse(path_, fmt::format("tensor {}, {} bytes at {}: {}", tensor.name,
                                width * (end_ - first), offset.value, what));
    };
    const std::uint64_t salt = checksum_salt(reader_.manifest_.run.step, part_, tensor.name);
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(chunk) + 1);
    const std::int64_t piece = std::ssize(bytes_) / 4;
    for (std::int64_t at = first; at < end_; at += piece) {
      const std::int64_t elements = std::min(piece, end_ - at);
      const auto bytes = bytes_.first(static_cast<std::size_t>(width * elements));
      try {
        file_.read(offset.value + width * (at - first), bytes);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kIo) throw;
        broken("cannot be read");
      }
      add_to_checksums(salt, tensor.dtype, at, bytes, sums);
      if (after_piece_) after_piece_();
    }
    if (sums.back() != tensor.checksums[static_cast<std::size_t>(chunk)]) {
      broken("not what was written, the checksum differs");
    }
    tensor_ = &tensor;
    chunk_ = chunk;
  }

  const CheckpointReader& reader_;
  StatePart part_;
  fs::path path_;
  InputFile file_;
  std::span<std::byte> bytes_;
  std::function<void()> after_piece_;
  const ManifestTensor* tensor_ = nullptr;
  std::int64_t chunk_ = -1, end_ = 0;
};

CheckpointReader::CheckpointReader(fs::path folder) : folder_(std::move(folder)) {
  const fs::path path = folder_ / "manifest.json";
  manifest_ = parse_manifest(InputFile(folder_, path.filename().string()).text(kLongestManifest),
                             path.string());
  const auto named = step_of_name(folder_.filename().string());
  if (named && *named != manifest_.run.step) {
    refuse(path, fmt::format("is of step {0}: if nothing else was changed, rename the folder {1}",
                             manifest_.run.step, checkpoint_name(manifest_.run.step)));
  }
  for (const StatePart part : kSavedParts) {
    const bool there = std::any_of(manifest_.files.begin(), manifest_.files.end(),
                                   [&](const ManifestFile& f) { return f.name == file_of(part); });
    if (!there) refuse(path, fmt::format("names no {}", file_of(part)));
  }
  for (const ManifestFile& file : manifest_.files) check_file(file);
}

void CheckpointReader::check_file(const ManifestFile& file) const {
  const fs::path path = folder_ / file.name;
  const InputFile input(folder_, file.name);
  if (input.size() != file.size.value) {
    refuse(path, fmt::format("{} bytes, {} were written", input.size(), file.size.value));
  }
  const std::vector<TensorHeader> headers = headers_of(manifest_, file.name);
  const bool tensors = !headers.empty();
  const std::string header = tensors ? safetensors_header(headers) : std::string{};
  const Bytes summed = tensors ? Bytes{static_cast<std::int64_t>(header.size())} : file.size;
  if (summed > file.size || summed > kLongestManifest) refuse(path, "is cut");
  std::string text(count(summed), '\0');
  input.read(0, std::as_writable_bytes(std::span(text)));
  if (XXH3_64bits(text.data(), text.size()) != file.checksum || (tensors && text != header)) {
    refuse(path, fmt::format("its first {} bytes are not what was written", summed.value));
  }
}

const ManifestTensor& CheckpointReader::find(StatePart part, const TensorSpec& wanted) const {
  const auto found = std::find_if(
      manifest_.tensors.begin(), manifest_.tensors.end(), [&](const ManifestTensor& tensor) {
        return tensor.file == file_of(part) && tensor.name == wanted.name;
      });
  const fs::path path = folder_ / file_of(part);
  if (found == manifest_.tensors.end()) {
    refuse(path, fmt::format("has no tensor {}: it is another model's", wanted.name));
  }
  if (found->shape != wanted.shape) {
    refuse(path, fmt::format("tensor {} has another shape: it is another model's", wanted.name));
  }
  return *found;
}

void CheckpointReader::load(const Workload& workload, StateAccess& state) const {
  std::vector<std::byte> chunk(static_cast<std::size_t>(4 * kChunkElements));
  for (const StatePart part : kSavedParts) {
    Chunks chunks(*this, part, chunk);
    for (std::size_t f = 0; f < workload.flats.size(); ++f) {
      const FlatParameter& flat = workload.flats[f];
      std::vector<const ManifestTensor*> tensors;
      for (const TensorSpec& tensor : flat.tensors) tensors.push_back(&find(part, tensor));
      state.restore(static_cast<int>(f), part, [&](std::int64_t first, std::span<float> out) {
        std::fill(out.begin(), out.end(), 0.0F);
        const std::int64_t end = first + static_cast<std::int64_t>(out.size());
        for_tensors(flat, first, end, [&](std::size_t t, std::int64_t from, std::int64_t to) {
          while (from < to) {
            const ManifestTensor& tensor = *tensors[t];
            const auto bytes = chunks.at(tensor, from - flat.tensors[t].offset);
            const std::int64_t there =
                static_cast<std::int64_t>(bytes.size()) / size_of(tensor.dtype);
            const std::int64_t length = std::min(to - from, there);
            for (std::int64_t i = 0; i < length; ++i) {
              float& value = out[static_cast<std::size_t>(from - first + i)];
              if (tensor.dtype == DType::kFloat32) {
                std::memcpy(&value, bytes.data() + 4 * i, sizeof(value));
              } else {
                bf16 half;
                std::memcpy(&half, bytes.data() + 2 * i, sizeof(half));
                value = to_float(half);
              }
            }
            from += length;
          }
        });
      });
    }
  }
}

void CheckpointReader::verify_on_drive(const std::function<void()>& between) const {
  for (const StatePart part : kSavedParts) check(part, /*past_cache=*/true, between);
}

void CheckpointReader::verify(StatePart part) const { check(part, /*past_cache=*/false, {}); }

void CheckpointReader::check(StatePart part, bool past_cache,
                             const std::function<void()>& between) const {
  alignas(64) std::array<std::byte, 256 << 10> piece;  // not of the heap: steps may go on
  Chunks chunks(*this, part, piece);
  if (past_cache) chunks.read_past_cache();
  chunks.after_each_piece(between);
  for (const ManifestTensor& tensor : manifest_.tensors) {
    if (tensor.file == file_of(part)) chunks.check(tensor);
  }
}

}  // namespace sluice

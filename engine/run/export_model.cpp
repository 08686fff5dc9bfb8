// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/export_model.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "devices/base/bf16.h"
#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/file_calls.h"
#include "devices/storage/file_system.h"
#include "engine/files/model_json.h"
#include "engine/model/model.h"
#include "engine/run/weights.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBlock = 256 << 10;  // elements at a time

std::int64_t elements_of(const StoredTensor& tensor) {
  return tensor.size.value / stored_width(tensor.dtype);
}

// Calls act(bytes) with all of a tensor as it is to be written, or until that is false.
template <typename Act>
bool for_blocks(const ExportSource& source, std::size_t index, const StoredTensor& target,
                Act act) {
  const StoredTensor& held = source.tensors[index];
  const std::int64_t elements = elements_of(held);
  const std::int64_t width = stored_width(target.dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(kBlock, elements) * width));
  std::vector<float> floats;
  for (std::int64_t first = 0; first < elements; first += kBlock) {
    const std::int64_t length = std::min(kBlock, elements - first);
    const auto block = std::span(bytes).first(static_cast<std::size_t>(length * width));
    if (held.dtype == target.dtype) {
      source.bytes(index, first * width, block);
    } else {
      floats.resize(static_cast<std::size_t>(length));
      source.floats(index, first, floats);
      if (target.dtype == "F32") {
        std::ranges::copy(std::as_bytes(std::span(floats)), block.begin());
      } else {
        auto* to = reinterpret_cast<bf16*>(block.data());
        std::ranges::transform(floats, to, [](float x) { return to_bf16(x); });
      }
    }
    if (!act(std::span<const std::byte>(block))) return false;
  }
  return true;
}

struct FreeHash {
  void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

class Hash {
 public:
  Hash() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }
  void add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }
  std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, FreeHash> state_;
};

// What a later program will find is what was meant to be there. False: `stop` said so.
bool read_back(const fs::path& folder, const ModelFolderContent& content,
               const std::vector<std::uint64_t>& hashes, const std::function<bool()>& stop) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kIo, fmt::format("{}: read back, {} is not what was written: is the "
                                            "drive sound?",
                                            folder.string(), what));
  };
  if (read_model_json(folder) != content.shape) refuse("config.json");
  const ModelFolderReader reader(folder);
  std::vector<std::byte> bytes(static_cast<std::size_t>(4 * kBlock));
  for (std::size_t i = 0; i < content.tensors.size(); ++i) {
    const StoredTensor& tensor = reader.require(content.tensors[i].name, content.tensors[i].shape);
    Hash hash;
    for (std::int64_t first = 0; first < tensor.size.value; first += std::ssize(bytes)) {
      const auto block = std::span(bytes).first(
          static_cast<std::size_t>(std::min(std::ssize(bytes), tensor.size.value - first)));
      if (stop()) return false;
      reader.read_bytes(tensor, first, block);
      hash.add(block);
    }
    if (hash.value() != hashes[i] || tensor.dtype != content.tensors[i].dtype) {
      refuse("tensor " + tensor.name);
    }
  }
  return true;
}

// An older folder is replaced whole, so there must be nothing in it but what an export makes: no
// notes, no other format of the weights, no manifest of a checkpoint.
void check_target(const fs::path& out, bool overwrite) {
  std::error_code ignored;
  if (!fs::is_directory(out.parent_path(), ignored)) {
    throw Error(ErrorKind::kIo, fmt::format("{}: there is no such folder: make it, or give another "
                                            "--out",
                                            out.parent_path().string()));
  }
  const fs::file_type kind = fs::symlink_status(out, ignored).type();
  if (kind == fs::file_type::not_found) return;
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kConfig, fmt::format("{}: {}give another --out", out.string(), what));
  };
  if (!overwrite) refuse("is there already; --overwrite replaces it, or ");
  if (kind != fs::file_type::directory) refuse("is no folder, so it is not replaced: ");
  std::vector<std::string> names;
  if (list_names(out, names) != 0) {
    throw Error(ErrorKind::kIo, with_errno(out.string() + ": cannot be listed", errno));
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    if (is_model_file(name) && fs::is_regular_file(fs::symlink_status(out / name, ignored))) {
      continue;
    }
    refuse(fmt::format("holds {}, which no export made, so it is not replaced: move that away, or ",
                       printable(name)));
  }
}

fs::path folder_named(const fs::path& out) {
  const fs::path whole = fs::absolute(out).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

}  // namespace

ExportSource folder_source(const fs::path& folder) {
  ExportSource source{.shape = read_model_json(folder), .companions = folder};
  const auto reader = std::make_shared<const ModelFolderReader>(open_weights(folder));
  check_folder(source.shape, *reader);
  const Workload workload = make_model(source.shape, {}).workload(1);  // for its tensors
  std::vector<const StoredTensor*> held;
  const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    held.push_back(&reader->require(name, shape));
    source.tensors.push_back(*held.back());
    source.tensors.back().name = name;  // with the prefix that it may lack in the file
  };
  for (const FlatParameter& flat : workload.flats) {
    for (const TensorSpec& tensor : flat.tensors) add(tensor.name, tensor.shape);
  }
  for (const TensorHeader& bias : missing_biases(source.shape, DType::kFloat32)) {
    add(bias.name, bias.shape);
  }
  source.floats = [reader, held](std::size_t index, std::int64_t first, std::span<float> out) {
    reader->read(*held[index], first, out);
  };
  source.bytes = [reader, held](std::size_t index, std::int64_t first, std::span<std::byte> out) {
    reader->read_bytes(*held[index], first, out);
  };
  return source;
}

ExportResult export_model(const ExportSource& source, const ExportOptions& options) {
  const fs::path out = folder_named(options.out);
  check_target(out, options.overwrite);
  ModelFolderContent content{
      .shape = source.shape, .companions = source.companions, .max_shard = options.max_shard};
  ExportResult result;
  for (StoredTensor tensor : source.tensors) {
    const std::int64_t elements = elements_of(tensor);
    if (options.dtype) {
      const TensorHeader header{tensor.name, *options.dtype, tensor.shape};
      tensor = to_stored(header);
    }
    result.parameters += elements;
    result.size += tensor.size;
    content.tensors.push_back(std::move(tensor));
  }
  const Bytes free = free_space(out.parent_path());
  if (free < result.size) {
    throw Error(ErrorKind::kNoFit,
                fmt::format("{}: the model takes {}, {} are free there", out.string(),
                            format_bytes(result.size), format_bytes(free)));
  }
  ModelFolderWriter writer(out, content);
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = 0; i < content.tensors.size(); ++i) {
    Hash hash;
    const auto copy = [&](std::span<const std::byte> bytes) {
      hash.add(bytes);
      writer.write(bytes);
      return !options.stop();
    };
    result.stopped = !for_blocks(source, i, content.tensors[i], copy);
    if (result.stopped) return result;
    hashes.push_back(hash.value());
  }
  result.stopped = !read_back(writer.sync(), content, hashes, options.stop);
  if (!result.stopped) writer.finish();
  return result;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A model as a Hugging Face folder for other programs: streamed tensor by tensor, read
// back before it takes its name.

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "devices/base/dtype.h"
#include "engine/files/model_folder.h"

namespace sluice {

// Where the weights come from. To export from something else than a model folder, fill
// one of these.
struct ExportSource {
  ModelShape shape;
  std::vector<StoredTensor> tensors;  // as they are held; Hugging Face's names
  // Elements of tensors[index] from `first` on, as floats; and, for an export that keeps
  // the type, bytes as they are.
  std::function<void(std::size_t index, std::int64_t first, std::span<float>)> floats;
  std::function<void(std::size_t index, std::int64_t first, std::span<std::byte>)> bytes;
  std::filesystem::path companions;  // see ModelFolderContent
};

// The tensors of a model folder, in the order of the model. Errors: kData.
ExportSource folder_source(const std::filesystem::path& folder);

struct ExportOptions {
  std::filesystem::path out;
  std::optional<DType> dtype;  // nothing: as it is held
  Bytes max_shard{5'000'000'000};
  bool overwrite = false;  // an older model folder at `out`
  // Asked between blocks: true ends the export, and nothing of it is left.
  std::function<bool()> stop = [] { return false; };
};

struct ExportResult {
  std::int64_t parameters = 0;
  Bytes size;
  bool stopped = false;
};

// Memory   blocks of a MiB, whatever the model.
// Errors   kConfig where `out` is there already; kNoFit where the disk is too small; kIo,
//          also where what is read back is not what was written.
ExportResult export_model(const ExportSource& source, const ExportOptions& options);

}  // namespace sluice

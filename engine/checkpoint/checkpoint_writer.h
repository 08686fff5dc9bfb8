// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One checkpoint being written: under a temporary name until it is whole and on the disk.
//
// Errors   Error{kIo}. After one the checkpoint cannot be saved: it is dropped, with its
//          files, and another is begun under another name. Above all after a sync that
//          failed, since a second one would succeed without having written anything.

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/checkpoint/layout.h"
#include "engine/checkpoint/manifest.h"
#include "engine/files/output_file.h"
#include "offload/state_sink.h"

namespace sluice {

// What goes into a checkpoint beside the state, the same for all of a run.
struct CheckpointFacts {
  DataIdentity data;
  std::map<std::string, std::string> config;
  std::string config_toml;  // so that `eval` finds the data
  std::string config_json;  // so that the folder is a model's
};

class CheckpointWriter {
 public:
  // Makes the temporary folder in `folder`, which is made if it is missing, and takes the
  // room on the disk. Borrows the layout.
  CheckpointWriter(const std::filesystem::path& folder, const CheckpointLayout& layout,
                   std::int64_t step);
  ~CheckpointWriter();  // without commit() everything is removed
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  void write(const StatePiece& piece);

  // Every element was written. Syncs, writes the manifest, gives the folder its name.
  // Afterwards it would survive a power cut. Returns its path.
  std::filesystem::path commit(const RunState& run, const CheckpointFacts& facts);

 private:
  Manifest manifest(const RunState& run, const CheckpointFacts& facts) const;
  ManifestFile put(const char* name, const std::string& text) const;

  const CheckpointLayout& layout_;
  std::int64_t step_;
  std::filesystem::path folder_, partial_;
  std::array<std::unique_ptr<OutputFile>, kSavedParts.size()> files_;
  std::vector<std::uint64_t> salts_;      // by tensor
  std::vector<std::uint64_t> checksums_;  // by chunk
  Bytes left_;                            // of tensors, not written yet
};

}  // namespace sluice

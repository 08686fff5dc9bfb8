// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// manifest.json of a checkpoint: written last, so a folder with a good one is whole.
//
// Format   One JSON object: format "sluice-checkpoint", version 1; step, samples, tokens,
//          epoch, loss, learning_rate, seed, skipped, skipped_in_a_row; digest (16 hex
//          digits) if the run computes it; data {tokens, fingerprint}; validation {step, loss,
//          best, without_best}; config {key: TOML value}; files [{name, bytes, checksum}]; tensors
//          [{file, name, dtype, shape, offset, bytes, checksums}], the checksums of its chunks
//          (checksum.h), 16 hex digits each, end to end; and at the very end `checksum`, XXH3 of
//          all that stands before it.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/units.h"
#include "engine/checkpoint/layout.h"

namespace sluice {

// What the training stream is, without reading all of it.
struct DataIdentity {
  std::int64_t tokens = 0;
  std::uint64_t fingerprint = 0;  // of stretches spread over it

  bool operator==(const DataIdentity&) const = default;
};

// Where validation stood, for train.patience.
struct ValidationState {
  std::int64_t step = 0;  // 0: none yet
  double loss = 0;
  std::optional<double> best;
  std::int64_t without_best = 0;

  bool operator==(const ValidationState&) const = default;
};

// Steps that were left out because their numbers were not finite.
struct SkipCount {
  std::int64_t all = 0;       // since the run began
  std::int64_t in_a_row = 0;  // up to here

  bool operator==(const SkipCount&) const = default;
};

// Where a run stands after a step, beside its tensors.
struct RunState {
  std::int64_t step = 0;
  std::int64_t samples = 0;  // of the data order: the next one to be read
  std::int64_t tokens = 0;   // unmasked, since the run began
  double epoch = 0;
  double loss = 0;  // of `step`
  double learning_rate = 0;
  std::int64_t seed = 0;
  SkipCount skipped;
  std::optional<std::uint64_t> digest;
  ValidationState validation;

  bool operator==(const RunState&) const = default;
};

struct ManifestFile {
  std::string name;
  Bytes size;
  std::uint64_t checksum = 0;  // XXH3 of the bytes; of a tensor file: of its header
  bool operator==(const ManifestFile&) const = default;
};

struct ManifestTensor {
  std::string file, name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  Bytes offset;
  std::vector<std::uint64_t> checksums;

  std::int64_t count() const { return TensorHeader{name, dtype, shape}.count(); }
  bool operator==(const ManifestTensor&) const = default;
};

struct Manifest {
  RunState run;
  DataIdentity data;
  std::map<std::string, std::string> config;  // key to value, as TOML
  std::vector<ManifestFile> files;
  std::vector<ManifestTensor> tensors;

  bool operator==(const Manifest&) const = default;
};

std::string to_json(const Manifest& manifest);

// The end of a manifest: the checksum of `body`, all that stands before it.
std::string manifest_tail(std::string_view body);

// `name` is for messages. Error{kData}: anything that to_json does not write, a wrong
// checksum, another version, a file name that is none of a checkpoint's, bytes outside a file
// or of two tensors, a key, file or tensor that is there twice, nesting deeper than 64.
Manifest parse_manifest(const std::string& text, const std::string& name);

}  // namespace sluice

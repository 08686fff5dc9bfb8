// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The tokens of some files, end to end, as one stream.
//
// Formats  kBytes: each byte is a token. kBin: llm.c shards, a header of 256
//          int32 {magic, version, count, 0...} and `count` tokens: magic 20240520,
//          version 1, uint16; or magic 20240801, version 7, uint32. Little endian.
// Memory   nothing of the data is held; every read goes to the files.
// Threads  read() may be called from many threads.
// Errors   Error{kData}, one line with file and number.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "engine/data/token_files.h"

namespace sluice {

class TokenSource {
 public:
  // Checks every header and size and, for kBin, that every token is below
  // `vocabulary` (one streamed pass).
  TokenSource(const TokenFiles& files, std::int64_t vocabulary);

  std::int64_t size() const { return total_; }  // tokens

  // Tokens from `first` on; the range must lie within size().
  void read(std::int64_t first, std::span<std::int32_t> out) const;

 private:
  struct File {
    std::filesystem::path path;
    std::int64_t begin = 0;   // of its tokens in the stream
    std::int64_t count = 0;   // tokens
    std::int64_t header = 0;  // bytes
    int width = 1;            // bytes of a token
  };

  static File open_file(const std::filesystem::path& path, TokenFormat format);
  static void check_tokens(const File& file, std::int64_t vocabulary);
  static void read_file(const File& file, std::int64_t first, std::span<std::int32_t> out);

  std::vector<File> files_;
  std::int64_t total_ = 0;
};

// A stretch of a source: the training part, or the held-out part.
struct TokenRange {
  std::shared_ptr<const TokenSource> source;
  std::int64_t first = 0;
  std::int64_t count = 0;

  void read(std::int64_t at, std::span<std::int32_t> out) const { source->read(first + at, out); }
};

struct TrainingData {
  TokenRange train;
  TokenRange val;  // count 0 where nothing is held out
};

// The data of a run. Without data.val the last val_fraction of the training
// stream, in file order, is held out: training keeps floor(size * (1 - fraction)).
TrainingData open_training_data(const DataConfig& config, std::int64_t vocabulary);

// All tokens of `entries`, for evaluation. At least two.
TokenRange open_tokens(const std::vector<std::string>& entries, std::optional<TokenFormat> format,
                       std::int64_t vocabulary);

}  // namespace sluice

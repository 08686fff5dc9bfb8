// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/token_source.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "devices/base/error.h"
#include "engine/files/input_file.h"

namespace sluice {
namespace {

constexpr std::int64_t kBinHeader = 256 * 4;
constexpr std::int64_t kBlock = 64 << 10;  // tokens read at a time

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

struct BinKind {
  std::int32_t magic, version;
  int width;
};
constexpr std::array<BinKind, 2> kBinKinds{{{20240520, 1, 2}, {20240801, 7, 4}}};

int width_of_shard(const std::filesystem::path& path, std::int32_t magic, std::int32_t version) {
  for (const BinKind& kind : kBinKinds) {
    if (magic != kind.magic) continue;
    if (version != kind.version) {
      refuse(path, fmt::format("version {} of an llm.c shard, but with magic {} only version {} is "
                               "read; make the shard again with that",
                               version, magic, kind.version));
    }
    return kind.width;
  }
  refuse(path, fmt::format("not an llm.c shard: magic {}, not 20240520 or 20240801; for plain text "
                           "set data.tokens = \"bytes\"",
                           magic));
}

template <typename T>
void widen(const unsigned char* raw, std::span<std::int32_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T token = 0;
    std::memcpy(&token, raw + i * sizeof(T), sizeof(T));
    out[i] = static_cast<std::int32_t>(token);  // above 2^31: negative, caught by the check
  }
}

}  // namespace

// A file is open for one call: shards may be more than a process may hold open, and
// opening costs microseconds.
TokenSource::File TokenSource::open_file(const std::filesystem::path& path, TokenFormat format) {
  const InputFile in(path);
  const std::int64_t size = in.size();
  if (size == 0) refuse(path, "is empty; leave it out of data.train and data.val");
  if (format == TokenFormat::kBytes) return {path, 0, size, 0, 1};

  if (size < kBinHeader) {
    refuse(path,
           fmt::format("{} bytes are too short for the {}-byte header of an llm.c shard; make "
                       "the shard again, or set data.tokens = \"bytes\" for plain text",
                       size, kBinHeader));
  }
  std::array<std::int32_t, 3> header{};
  in.read(0, std::as_writable_bytes(std::span(header)));
  const int width = width_of_shard(path, header[0], header[1]);
  const std::int64_t stored = size - kBinHeader;
  if (header[2] < 0 || stored != std::int64_t{header[2]} * width) {
    refuse(path,
           fmt::format("corrupt: the header promises {} tokens of {} bytes, the file holds {} "
                       "bytes of them; make the shard again",
                       header[2], width, stored));
  }
  if (header[2] == 0) {
    refuse(path,
           "holds no tokens: its header counts 0; leave it out of data.train and data.val, or make "
           "the shard again");
  }
  return {path, 0, header[2], kBinHeader, width};
}

void TokenSource::read_file(const File& file, std::int64_t first, std::span<std::int32_t> out) {
  const InputFile in(file.path);
  std::array<unsigned char, 16 << 10> raw;  // on the stack: steps allocate nothing
  const std::size_t per_block = raw.size() / static_cast<std::size_t>(file.width);
  while (!out.empty()) {
    const std::span<std::int32_t> block = out.first(std::min(per_block, out.size()));
    const auto length = static_cast<std::int64_t>(block.size());
    in.read(file.header + first * file.width,
            std::as_writable_bytes(
                std::span(raw).first(block.size() * static_cast<std::size_t>(file.width))));
    if (file.width == 1) widen<std::uint8_t>(raw.data(), block);
    if (file.width == 2) widen<std::uint16_t>(raw.data(), block);
    if (file.width == 4) widen<std::uint32_t>(raw.data(), block);
    first += length;
    out = out.subspan(block.size());
  }
}

void TokenSource::check_tokens(const File& file, std::int64_t vocabulary) {
  std::vector<std::int32_t> block(static_cast<std::size_t>(std::min(kBlock, file.count)));
  for (std::int64_t first = 0; first < file.count; first += kBlock) {
    block.resize(static_cast<std::size_t>(std::min(kBlock, file.count - first)));
    read_file(file, first, block);
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= 0 && block[i] < vocabulary) continue;
      refuse(file.path,
             fmt::format("token {} at index {} is not below the vocabulary of {}; set "
                         "model.vocab to at least {}",
                         static_cast<std::uint32_t>(block[i]), first + static_cast<std::int64_t>(i),
                         vocabulary, std::int64_t{static_cast<std::uint32_t>(block[i])} + 1));
    }
  }
}

TokenSource::TokenSource(const TokenFiles& files, std::int64_t vocabulary) {
  if (files.format == TokenFormat::kBytes) check_bytes_fit(vocabulary);
  for (const std::filesystem::path& path : files.paths) {
    File file = open_file(path, files.format);
    file.begin = total_;
    total_ += file.count;
    files_.push_back(std::move(file));
  }
  if (files.format == TokenFormat::kBytes) return;  // a byte is below 256
  for (const File& file : files_) check_tokens(file, vocabulary);
}

void TokenSource::read(std::int64_t first, std::span<std::int32_t> out) const {
  SLUICE_CHECK(first >= 0 && first + static_cast<std::int64_t>(out.size()) <= total_);
  auto file = std::upper_bound(files_.begin(), files_.end(), first,
                               [](std::int64_t at, const File& f) { return at < f.begin; });
  while (!out.empty()) {
    const File& from = *std::prev(file++);
    const std::int64_t left = from.begin + from.count - first;
    const auto length = std::min(out.size(), static_cast<std::size_t>(left));
    read_file(from, first - from.begin, out.first(length));
    out = out.subspan(length);
    first += static_cast<std::int64_t>(length);
  }
}

TokenRange open_tokens(const std::vector<std::string>& entries, std::optional<TokenFormat> format,
                       std::int64_t vocabulary) {
  auto source = std::make_shared<const TokenSource>(find_token_files(entries, format), vocabulary);
  const std::int64_t size = source->size();
  if (size < 2) {
    throw Error(ErrorKind::kData, fmt::format("{}: {} token is no sequence; at least 2 are needed",
                                              entries.front(), size));
  }
  return {std::move(source), 0, size};
}

TrainingData open_training_data(const DataConfig& config, std::int64_t vocabulary) {
  TrainingData data;
  data.train = open_tokens(config.train, config.tokens, vocabulary);
  if (!config.val.empty()) {
    data.val = open_tokens(config.val, config.tokens, vocabulary);
  } else if (config.val_fraction > 0) {
    const std::int64_t all = data.train.count;
    data.train.count =
        static_cast<std::int64_t>(static_cast<double>(all) * (1 - config.val_fraction));
    data.val = {data.train.source, data.train.count, all - data.train.count};
    if (data.val.count < 2) data.val = {};
  }
  if (data.train.count < config.seq_len + 1) {
    throw Error(ErrorKind::kData,
                fmt::format("{}: {} tokens to train on are fewer than one sequence of data.seq_len "
                            "{} and the token after it; add data or shorten it",
                            config.train.front(), data.train.count, config.seq_len));
  }
  return data;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/token_source.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/engine/scratch.h"

namespace sluice {
namespace {

std::string shard_header(std::int32_t magic, std::int32_t version, std::int32_t count) {
  std::vector<std::int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return bytes_of_numbers(header);
}

std::string shard(const std::vector<std::uint16_t>& tokens) {
  return shard_header(20240520, 1, static_cast<std::int32_t>(tokens.size())) +
         bytes_of_numbers(tokens);
}

std::vector<std::int32_t> all_of(const TokenRange& range) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(range.count));
  range.read(0, out);
  return out;
}

TokenRange open(const std::vector<std::string>& entries, std::int64_t vocabulary = 256) {
  return open_tokens(entries, std::nullopt, vocabulary);
}

TEST(TokenSource, BytesAreTokens) {
  const ScratchFolder folder;
  const std::string file = folder.write("a.txt", "ab\xff");
  EXPECT_EQ(all_of(open({file})), (std::vector<std::int32_t>{'a', 'b', 255}));
}

TEST(TokenSource, FilesFollowTheListAndFoldersTheirSortedPaths) {
  const ScratchFolder folder;
  folder.write("d/b.txt", "B");
  folder.write("d/a/z.txt", "Z");
  folder.write("d/c.txt", "C");
  folder.write("d/.hidden", "no");
  folder.write("d/.git/x", "no");
  folder.write("d/empty.txt", "");
  const std::string first = folder.write("z.txt", "1");
  EXPECT_EQ(all_of(open({first, (folder / "d").string()})),
            (std::vector<std::int32_t>{'1', 'Z', 'B', 'C'}));
}

TEST(TokenSource, GlobsAreExpandedInOrder) {
  const ScratchFolder folder;
  folder.write("b.txt", "B");
  folder.write("a.txt", "A");
  folder.write("c.md", "C");
  EXPECT_EQ(all_of(open({(folder / "*.txt").string()})), (std::vector<std::int32_t>{'A', 'B'}));
}

TEST(TokenSource, ReadsBothKindsOfShards) {
  const ScratchFolder folder;
  const std::string narrow = folder.write("a.bin", shard({1, 50256, 7}));
  const std::string wide = folder.write(
      "b.bin", shard_header(20240801, 7, 2) + bytes_of_numbers<std::uint32_t>({128255, 3}));
  EXPECT_EQ(all_of(open({narrow, wide}, 128256)),
            (std::vector<std::int32_t>{1, 50256, 7, 128255, 3}));
}

TEST(TokenSource, AnyRangeReadsTheSameTokensAcrossFiles) {
  const ScratchFolder folder;
  std::vector<std::string> files;
  std::vector<std::uint16_t> next;
  std::uint16_t token = 0;
  for (const int size : {1, 9000, 2, 20000}) {  // blocks of a read end inside
    next.assign(static_cast<std::size_t>(size), 0);
    for (auto& x : next) x = token++;
    files.push_back(folder.write(std::to_string(size) + ".bin", shard(next)));
  }
  const TokenRange range = open(files, 65536);
  ASSERT_EQ(range.count, 29003);
  for (const auto& [first, length] :
       {std::pair{0, 29003}, {0, 1}, {1, 9000}, {8999, 5}, {9001, 3}, {29002, 1}, {29003, 0}}) {
    std::vector<std::int32_t> got(static_cast<std::size_t>(length));
    std::vector<std::int32_t> want(got.size());
    std::iota(want.begin(), want.end(), first);
    range.read(first, got);
    EXPECT_EQ(got, want) << first << " " << length;
  }
}

TEST(TokenSource, TheLastFractionInFileOrderIsHeldOut) {
  const ScratchFolder folder;
  DataConfig config;
  config.train = {folder.write("a.txt", "0123456"), folder.write("b.txt", "789")};
  config.val_fraction = 0.2;
  config.seq_len = 4;
  const TrainingData data = open_training_data(config, 256);
  EXPECT_EQ(data.train.count, 8);
  EXPECT_EQ(all_of(data.val), (std::vector<std::int32_t>{'8', '9'}));
}

TEST(TokenSource, TheSplitOfTinyshakespeareIsThePublicOne) {
  const ScratchFolder folder;
  DataConfig config;
  config.train = {folder.write("a.txt", std::string(1115394, 'x'))};
  config.seq_len = 64;
  EXPECT_EQ(open_training_data(config, 256).train.count, 1003854);  // int(0.9 * 1115394)
}

TEST(TokenSource, ValidationFilesLeaveTheTrainingDataWhole) {
  const ScratchFolder folder;
  DataConfig config;
  config.train = {folder.write("a.txt", "0123456789")};
  config.val = {folder.write("b.txt", "xyz")};
  config.seq_len = 4;
  const TrainingData data = open_training_data(config, 256);
  EXPECT_EQ(data.train.count, 10);
  EXPECT_EQ(data.val.count, 3);
}

void expect_bad(const std::vector<std::string>& entries, const std::vector<std::string>& parts,
                std::int64_t vocabulary = 256) {
  expect_error(ErrorKind::kData, parts, [&] { open(entries, vocabulary); });
}

TEST(TokenSource, MissingAndEmptyDataIsNamed) {
  const ScratchFolder folder;
  expect_bad({(folder / "no.txt").string()}, {"no.txt", "no such file"});
  expect_bad({(folder / "*.txt").string()}, {"*.txt", "no match"});
  expect_bad({folder.write("empty.txt", "")}, {"empty.txt", "is empty"});
  std::filesystem::create_directory(folder / "d");
  expect_bad({(folder / "d").string()}, {"/d", "no data"});
  expect_bad({folder.write("one.txt", "x")}, {"one.txt", "at least 2"});
}

TEST(TokenSource, TextAndShardsAreNotMixed) {
  const ScratchFolder folder;
  expect_bad({folder.write("a.txt", "x"), folder.write("b.bin", shard({1}))},
             {"a.txt", "b.bin", "data.tokens"});
}

TEST(TokenSource, CorruptShardsAreNamedWithTheirNumbers) {
  const ScratchFolder folder;
  const std::string tokens = bytes_of_numbers<std::uint16_t>({1, 2, 3});
  const auto bad = [&](const std::string& content, const std::vector<std::string>& parts) {
    expect_bad({folder.write("bad.bin", content)}, parts);
  };
  bad("short", {"bad.bin", "5 bytes", "1024"});
  bad(shard_header(1234, 1, 3) + tokens, {"magic 1234", "20240520", "\"bytes\""});
  bad(shard_header(20240520, 2, 3) + tokens, {"version 2", "version 1"});
  bad(shard_header(20240520, 1, 4) + tokens, {"4 tokens", "6 bytes"});
  bad(shard_header(20240520, 1, 2) + tokens, {"2 tokens", "6 bytes"});
  bad(shard_header(20240520, 1, -3) + tokens, {"-3 tokens"});
  bad(shard_header(20240520, 1, 0), {"no tokens"});
  bad(shard_header(20240520, 1, 3) + tokens.substr(1), {"5 bytes"});
}

TEST(TokenSource, ATokenOutsideTheVocabularyIsNamedWithItsPlace) {
  const ScratchFolder folder;
  std::vector<std::uint16_t> tokens(100'000, 5);
  tokens[90'000] = 300;
  expect_bad({folder.write("a.bin", shard(tokens))},
             {"a.bin", "token 300", "index 90000", "vocabulary of 256", "301"});
  const std::string wide =
      shard_header(20240801, 7, 1) + bytes_of_numbers<std::uint32_t>({4000000000U});
  expect_bad({folder.write("b.bin", wide)}, {"token 4000000000", "index 0"});
}

TEST(TokenSource, DataShorterThanASequenceIsRefused) {
  const ScratchFolder folder;
  DataConfig config;
  config.train = {folder.write("a.txt", "0123456789")};
  config.val_fraction = 0;
  config.seq_len = 10;
  expect_error(ErrorKind::kData, {"a.txt", "10 tokens", "data.seq_len 10"},
               [&] { open_training_data(config, 256); });
  config.seq_len = 9;
  EXPECT_EQ(open_training_data(config, 256).train.count, 10);
}

TEST(TokenSource, AFileCutWhileInUseIsAnErrorAndNotGarbage) {
  const ScratchFolder folder;
  const std::string file = folder.write("a.txt", "0123456789");
  const TokenRange range = open({file});
  std::filesystem::resize_file(file, 4);
  expect_error(ErrorKind::kData, {"a.txt", "byte 4", "cut"}, [&] { all_of(range); });
  std::filesystem::remove(file);
  expect_error(ErrorKind::kData, {"a.txt", "No such file"}, [&] { all_of(range); });
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Every reader on the committed corpus, and on some hundred mutations of each file: what
// the fuzzers look for at length, in every build. Files named good* must be accepted, all
// others refused.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/refusal_cost.h"
#include "tests/fuzz/structure_mutator.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> corpus_of(const std::string& target) {
  std::vector<fs::path> files;
  for (const auto& entry :
       fs::directory_iterator(fs::path(SLUICE_SOURCE_DIR) / "tests/fuzz/corpus" / target)) {
    files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

std::string bytes_in(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// One to four edits: a byte changed, removed, doubled; a piece copied elsewhere; an end cut.
std::string mutated(std::string bytes, std::mt19937_64& random) {
  const auto below = [&](std::size_t end) { return end == 0 ? 0 : random() % end; };
  for (std::uint64_t edits = 1 + random() % 4; edits > 0 && !bytes.empty(); --edits) {
    const std::size_t at = below(bytes.size());
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes.erase(at, 1 + below(8));
        break;
      case 2:
        bytes.insert(at, 1, bytes[at]);
        break;
      case 3:
        bytes.insert(at, bytes.substr(below(bytes.size()), below(64)));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

class Corpus : public testing::TestWithParam<std::string> {};

TEST_P(Corpus, IsAcceptedOrRefusedAsItsFilesSay) {
  const FuzzTarget& target = fuzz_targets().at(GetParam());
  const std::vector<fs::path> files = corpus_of(GetParam());
  bool has_good = false;
  for (const fs::path& file : files) {
    const bool is_good = file.filename().string().starts_with("good");
    has_good = has_good || is_good;
    const std::string bytes = bytes_in(file);
    EXPECT_EQ(fuzz_accepts(target, bytes), is_good) << file;
    if (!is_good) expect_cheap_refusal(file, [&] { target(bytes); });
  }
  EXPECT_TRUE(has_good) << "of nothing but broken files, nothing deep is reached";
  EXPECT_GE(files.size(), 3U);
}

TEST_P(Corpus, MutatedItIsReadOrRefusedAndNothingElse) {
  const FuzzTarget& target = fuzz_targets().at(GetParam());
  for (const fs::path& file : corpus_of(GetParam())) {
    const std::string bytes = bytes_in(file);
    std::mt19937_64 random(1);
    for (std::uint64_t i = 0; i < 300; ++i) {
      const auto made = i % 2 == 0 ? mutated_structure(bytes, i) : std::nullopt;
      fuzz_accepts(target, made ? *made : mutated(bytes, random));
    }
  }
}

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (const auto& [name, target] : fuzz_targets()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Targets, Corpus, testing::ValuesIn(target_names()),
                         [](const auto& made) { return made.param; });

TEST(Corpus, EveryFolderHasItsTarget) {
  for (const auto& entry :
       fs::directory_iterator(fs::path(SLUICE_SOURCE_DIR) / "tests/fuzz/corpus")) {
    EXPECT_EQ(fuzz_targets().count(entry.path().filename().string()), 1U) << entry.path();
  }
}

}  // namespace
}  // namespace sluice

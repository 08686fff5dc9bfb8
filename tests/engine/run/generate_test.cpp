// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/generate.h"

#include "engine/run/saved_model.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

std::vector<std::int32_t> drawn(const std::filesystem::path& model, const GenerateOptions& o) {
  std::vector<std::int32_t> tokens;
  generate(model, o, [&](std::int32_t token) { tokens.push_back(token); });
  return tokens;
}

class Generate : public ::testing::Test {
 protected:
  void SetUp() override { scratch_.train({{"eval.sequences", "1"}}); }

  RunScratch scratch_;
  std::filesystem::path model_ = scratch_ / "run";
  GenerateOptions options_{.prompt = {78, 111, 119}, .tokens = 24, .temperature = 1};
};

TEST_F(Generate, IsAFunctionOfTheSeed) {
  const auto tokens = drawn(model_, options_);
  EXPECT_EQ(tokens.size(), 24U);
  EXPECT_EQ(drawn(model_, options_), tokens);
  options_.seed = 2;
  EXPECT_NE(drawn(model_, options_), tokens);
}

TEST_F(Generate, TheLikeliestTokenIsThatOfTemperatureZeroAndOfTopOne) {
  options_.temperature = 0;
  const auto tokens = drawn(model_, options_);
  options_.temperature = 1;
  options_.top_k = 1;
  EXPECT_EQ(drawn(model_, options_), tokens);
}

// Short and long passes share one arena, and past the context of 16 the oldest tokens
// are left out.
TEST_F(Generate, EachTokenIsWhatTheModelSaysOfTheTextBeforeIt) {
  options_.temperature = 0;
  std::vector<std::int32_t> text = options_.prompt;
  for (const std::int32_t token : drawn(model_, options_)) {
    const auto seen = std::min<std::ptrdiff_t>(16, static_cast<std::ptrdiff_t>(text.size()));
    const GenerateOptions one{
        .prompt = {text.end() - seen, text.end()}, .tokens = 1, .temperature = 0};
    EXPECT_EQ(drawn(model_, one), std::vector<std::int32_t>{token}) << text.size();
    text.push_back(token);
  }
}

TEST_F(Generate, RefusesPromptsThatTheModelCannotRead) {
  options_.prompt = {78, 300};
  expect_error(ErrorKind::kConfig, {"300", "256"}, [&] { drawn(model_, options_); });
  options_.prompt = {};
  expect_error(ErrorKind::kConfig, {"prompt"}, [&] { drawn(model_, options_); });
  expect_error(ErrorKind::kData, {"nowhere"}, [&] { drawn(scratch_ / "nowhere", options_); });
}

TEST(SavedModel, PassesOfEveryLengthFitTheMemoryOfTheLongest) {
  const RunScratch scratch;
  scratch.train({{"train.steps", "1"}, {"eval.sequences", "1"}});
  SavedModel model(model_folder_of(scratch / "run"), DType::kFloat32, 3, 16);
  for (std::int64_t sequences = 1; sequences <= 3; ++sequences) {
    for (std::int64_t length = 1; length <= 16; ++length) {
      for (const ForwardOutput output : {ForwardOutput::kLosses, ForwardOutput::kLogits}) {
        EXPECT_NE(model.pass(sequences, length, output), nullptr);
      }
    }
  }
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/weights.h"

#include "engine/run/export_model.h"
#include "engine/run/saved_model.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

// A checkpoint is a model folder too, and its manifest says what was written.
TEST(Weights, OfADamagedCheckpointAreReadByNobody) {
  const RunScratch scratch;
  scratch.train({{"eval.sequences", "1"}});
  std::filesystem::remove_all(scratch / "run/model");  // then the newest checkpoint is the model
  const std::filesystem::path checkpoint = model_folder_of(scratch / "run");
  EXPECT_NO_THROW(folder_source(checkpoint));

  const std::filesystem::path file = checkpoint / "model.safetensors";
  const std::string text = text_of(file);
  write_at(file, std::ssize(text) - 2, {static_cast<char>(text[text.size() - 2] ^ 1)});
  const std::vector<std::string> parts = {file.string(), "the checksum differs"};
  expect_error(ErrorKind::kData, parts, [&] { folder_source(checkpoint); });
  expect_error(ErrorKind::kData, parts, [&] {
    scratch.train({{"model.path", checkpoint.string()}}, {.run_dir = scratch / "other"});
  });
  EXPECT_FALSE(scratch.exists("other"));
  expect_error(ErrorKind::kData, parts, [&] { SavedModel(checkpoint, DType::kFloat32, 1, 16); });
}

}  // namespace
}  // namespace sluice

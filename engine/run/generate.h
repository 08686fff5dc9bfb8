// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Samples tokens from a saved model.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

namespace sluice {

struct GenerateOptions {
  std::vector<std::int32_t> prompt;  // at least one token
  std::int64_t tokens = 200;
  double temperature = 0.8;  // 0: the likeliest token
  std::int64_t top_k = 0;    // 0: all
  std::uint64_t seed = 1;
  std::filesystem::path logits;  // a file for what each token was drawn from, or empty
};

// Calls `token` with each new token as it is drawn. The model sees at most its
// context. Logits are fp32, little endian, a row of the vocabulary for each token.
// Determinism: the same options give the same tokens on one machine.
// Errors: kData of the model; kConfig for a prompt token outside the vocabulary.
void generate(const std::filesystem::path& model, const GenerateOptions& options,
              const std::function<void(std::int32_t)>& token);

// Whether tokens are bytes: the vocabulary is 256.
bool is_byte_model(const std::filesystem::path& model);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// config.json of a Hugging Face model folder, for the families we know.

#include <filesystem>
#include <string>

#include "devices/base/dtype.h"
#include "engine/model/model_shape.h"

namespace sluice {

// The text that transformers loads, in the spellings of its versions 4 and 5.
// A gpt2 without biases says so in a key of ours, `sluice_bias`.
std::string write_model_json(const ModelShape& shape, DType dtype);

// Reads gpt2, llama and qwen2, both spellings. Error{kData} for a missing or
// broken file, another family, or a feature that would change the arithmetic
// (rope scaling, sliding windows, another activation): refused, never ignored.
ModelShape read_model_json(const std::filesystem::path& folder);

}  // namespace sluice

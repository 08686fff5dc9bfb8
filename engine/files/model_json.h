// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// config.json of a Hugging Face model folder, for the families we know.

#include <filesystem>
#include <string>
#include <string_view>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "engine/model/model_shape.h"

namespace sluice {

inline constexpr Bytes kLargestModelJson{1 << 20};

// The text that transformers loads, in the spellings of its versions 4 and 5.
// A gpt2 without biases says so in a key of ours, `sluice_bias`.
std::string write_model_json(const ModelShape& shape, DType dtype);

// config.json of `folder` with what may differ in a copy of its model: the type of the
// weights ("F32", "BF16", "F16") and the explicit flag of a tied head. All else stays:
// token ids, architecture, what only other programs read. Code to be run is not carried.
std::string carry_model_json(const std::filesystem::path& folder, bool tied,
                             std::string_view stored_dtype);

// Reads gpt2, llama, qwen2 and mistral, both spellings. Error{kData} for a missing or
// broken file, another family, a size that no model has, or a feature that would change
// the arithmetic: refused by name, never ignored. A sliding window is read into
// ModelShape::window.
ModelShape read_model_json(const std::filesystem::path& folder);

// The same for a text that is called `name` in messages.
ModelShape parse_model_json(const std::string& text, const std::string& name);

// The rates of dropout in config.json of `folder`, "attn_pdrop 0.1, ...", or nothing:
// Sluice does not drop out.
std::string dropout_in(const std::filesystem::path& folder);

}  // namespace sluice

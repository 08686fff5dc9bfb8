// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The one table of config keys. Files, flags, aliases, --print-config, help and
// error texts are all derived from it.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/codec.h"
#include "engine/config/run_config.h"
#include "engine/config/value.h"

namespace sluice {

struct Key {
  KeySpec spec;
  std::string type;  // "an integer, at least 1"

  // Fills the key's field. Relative paths start from `folder`. Throws BadValue.
  std::function<void(RunConfig&, const ConfigValue&, const std::filesystem::path& folder)> read;
  std::function<std::string(const RunConfig&)> write;  // TOML
};

// In the order they are printed, section by section.
const std::vector<Key>& config_keys();

// The key that `name` means: "train.steps", or an alias, alone ("max_steps") or
// inside any section ("train.max_steps"). Null if none.
const Key* find_key(std::string_view name);

// The name nearest to one that find_key does not know.
std::string nearest_key(std::string_view name);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// From a config file and flags to a complete, checked RunConfig.
//
// Errors   Error{kConfig}, one line: where it stands, what is wrong, what to type.
//          Error{kData} where model.path holds no model.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/config/run_config.h"

namespace sluice {

struct ConfigFlag {
  std::string name, value;  // "train.steps", "100"
};

struct LoadedConfig {
  RunConfig config;  // complete: nothing is left to derive but what needs the machine
  // Where each key's value came from: "default", "preset finetune",
  // "configs/a.toml:12" or "--train.steps".
  std::map<std::string, std::string> origin;
  std::string name;  // of the run: the file's stem, or "run"
};

// Removes every config flag, `--section.key VALUE`, `--section.key=VALUE` or
// an alias, from `arguments` and returns them in order.
std::vector<ConfigFlag> take_config_flags(std::vector<std::string>& arguments);

// `file` may be empty (flags alone) or "-" (standard input). Paths in the file
// start from its folder, those of flags from the current one.
LoadedConfig load_config(const std::filesystem::path& file, const std::vector<ConfigFlag>& flags);

// The same for a text that is called `name` in messages.
LoadedConfig load_config_text(const std::string& text, const std::string& name,
                              const std::filesystem::path& folder,
                              const std::vector<ConfigFlag>& flags);

// What only training needs: data, and a condition to stop.
void check_trainable(const RunConfig& config);

// The whole config as TOML with the origin of each value; loading it gives the
// same config.
std::string print_config(const LoadedConfig& loaded);

// Every key with its type, default, aliases and meaning.
std::string config_help();

}  // namespace sluice

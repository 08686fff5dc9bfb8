// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A config value as it was written, before its key gives it a type: what the
// TOML parser hands to the table of keys, without the parser's own types.

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sluice {

struct ConfigValue;
struct ConfigField;
using ConfigList = std::vector<ConfigValue>;
using ConfigTable = std::vector<ConfigField>;

struct ConfigValue {
  std::variant<bool, std::int64_t, double, std::string, ConfigList, ConfigTable> value;
  std::string text;   // of a flag as typed; empty in a file
  std::string where;  // "configs/a.toml:12" or "--train.steps"
};

// `name = value` inside a table.
struct ConfigField {
  std::string name;
  ConfigValue value;
};

// One `section.key = value` of a file or of the command line.
struct ConfigEntry {
  std::string key;
  ConfigValue value;
};

// The entries of a TOML text in no special order. `name` stands for it in
// messages. Error{kConfig} with the line where the text is not TOML.
std::vector<ConfigEntry> parse_toml(const std::string& text, const std::string& name);

// A flag's value: TOML where it is TOML, else the string itself (64MiB, bf16).
ConfigValue parse_flag_value(const std::string& flag, const std::string& text);

// A TOML string with its quotes.
std::string toml_quoted(const std::string& text);

}  // namespace sluice

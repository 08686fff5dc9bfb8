// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/load_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <set>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/read_text.h"
#include "engine/config/keys.h"
#include "engine/config/resolve.h"
#include "engine/config/value.h"

namespace sluice {
namespace {

std::string as_written(const ConfigValue& value) {
  if (!value.text.empty()) return value.text;
  struct {
    std::string operator()(bool x) const { return x ? "true" : "false"; }
    std::string operator()(std::int64_t x) const { return fmt::format("{}", x); }
    std::string operator()(double x) const {
      const std::string text = fmt::format("{}", x);
      const bool whole = text.find_first_not_of("-0123456789") == std::string::npos;
      return whole ? text + ".0" : text;  // 6.0 is no integer
    }
    std::string operator()(const std::string& x) const { return toml_quoted(x); }
    std::string operator()(const ConfigList&) const { return "a list"; }
    std::string operator()(const ConfigTable&) const { return "a table"; }
  } describe;
  return std::visit(describe, value.value);
}

// Entries of one source: unknown keys and keys set twice are refused.
class Source {
 public:
  Source(std::vector<ConfigEntry> entries, std::filesystem::path folder, std::string origin = "")
      : folder_(std::move(folder)), origin_(std::move(origin)) {
    std::set<const Key*> seen;
    for (ConfigEntry& entry : entries) {
      const Key* key = find_key(entry.key);
      if (key == nullptr) {
        throw Error(ErrorKind::kConfig,
                    fmt::format("{}: unknown key {}; the nearest is {}", entry.value.where,
                                printable(entry.key), nearest_key(entry.key)));
      }
      if (!seen.insert(key).second) {
        throw Error(ErrorKind::kConfig, fmt::format("{}: {} is set twice; keep one",
                                                    entry.value.where, key->spec.name));
      }
      entries_.emplace_back(key, std::move(entry.value));
    }
  }

  void apply(LoadedConfig& loaded) const {
    for (const auto& [key, value] : entries_) {
      try {
        key->read(loaded.config, value, folder_);
      } catch (const BadValue& bad) {
        throw Error(ErrorKind::kConfig, fmt::format("{}: {} must be {}; it is {}", value.where,
                                                    key->spec.name, bad.wanted, as_written(value)));
      }
      loaded.origin[key->spec.name] = origin_.empty() ? value.where : origin_;
    }
  }

 private:
  std::vector<std::pair<const Key*, ConfigValue>> entries_;
  std::filesystem::path folder_;
  std::string origin_;
};

Source flag_source(const std::vector<ConfigFlag>& flags) {
  std::vector<ConfigEntry> entries;
  for (const ConfigFlag& flag : flags) {
    ConfigEntry entry{flag.name, parse_flag_value("--" + flag.name, flag.value)};
    // As everywhere on a command line, the last of two equal flags wins.
    const auto same = std::find_if(entries.begin(), entries.end(), [&](const ConfigEntry& other) {
      return find_key(other.key) != nullptr && find_key(other.key) == find_key(entry.key);
    });
    if (same != entries.end()) entries.erase(same);
    entries.push_back(std::move(entry));
  }
  return {std::move(entries), std::filesystem::current_path()};
}

}  // namespace

std::vector<ConfigFlag> take_config_flags(std::vector<std::string>& arguments) {
  std::vector<ConfigFlag> flags;
  std::vector<std::string> rest;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.rfind("--", 0) == 0
                                 ? argument.substr(2, std::min(equals, argument.size()) - 2)
                                 : "";
    const bool ours = name.find('.') != std::string::npos || find_key(name) != nullptr;
    if (!ours) {
      rest.push_back(argument);
    } else if (equals != std::string::npos) {
      flags.push_back({name, argument.substr(equals + 1)});
    } else if (i + 1 < arguments.size()) {
      flags.push_back({name, arguments[++i]});
    } else {
      throw Error(ErrorKind::kConfig, fmt::format("--{} needs a value: --{} VALUE", name, name));
    }
  }
  arguments = std::move(rest);
  return flags;
}

LoadedConfig load_config(const std::filesystem::path& file, const std::vector<ConfigFlag>& flags) {
  if (file.empty()) return load_config_text("", "run", std::filesystem::current_path(), flags);
  if (file == "-") {
    return load_config_text(read_text(std::cin, "stdin", ErrorKind::kConfig), "stdin",
                            std::filesystem::current_path(), flags);
  }
  std::ifstream in(file);
  if (!in || std::filesystem::is_directory(file)) {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{}: no such config file, or not readable; give the path of a TOML file",
                    file.string()));
  }
  LoadedConfig loaded =
      load_config_text(read_text(in, file.string(), ErrorKind::kConfig), file.string(),
                       std::filesystem::absolute(file).parent_path(), flags);
  loaded.name = file.stem().string();
  return loaded;
}

LoadedConfig load_config_text(const std::string& text, const std::string& name,
                              const std::filesystem::path& folder,
                              const std::vector<ConfigFlag>& flags) {
  const Source written(parse_toml(text, name), folder);
  const Source typed = flag_source(flags);

  LoadedConfig explicit_values;
  written.apply(explicit_values);
  typed.apply(explicit_values);
  const Preset preset = explicit_values.config.train.preset;

  LoadedConfig loaded;
  loaded.name = name;
  for (const Key& key : config_keys()) loaded.origin[key.spec.name] = "default";
  const std::string preset_name = preset == Preset::kPretrain ? "pretrain" : "finetune";
  Source(parse_toml(preset_text(preset), preset_name), folder, "preset " + preset_name)
      .apply(loaded);
  written.apply(loaded);
  typed.apply(loaded);
  resolve(loaded);
  return loaded;
}

std::string print_config(const LoadedConfig& loaded) {
  std::string out;
  std::string section;
  for (const Key& key : config_keys()) {
    const std::size_t dot = key.spec.name.find('.');
    if (key.spec.name.substr(0, dot) != section) {
      out += (section.empty() ? "" : "\n");
      section = key.spec.name.substr(0, dot);
      out += "[" + section + "]\n";
    }
    const auto origin = loaded.origin.find(key.spec.name);
    out += fmt::format("{:<36}  # {}\n",
                       key.spec.name.substr(dot + 1) + " = " + key.write(loaded.config),
                       origin == loaded.origin.end() ? "default" : origin->second);
  }
  return out;
}

std::string config_help() {
  std::string out;
  const RunConfig defaults;
  for (const Key& key : config_keys()) {
    out += fmt::format("{}\n    {}\n    {}; default {}\n", key.spec.name, key.spec.help, key.type,
                       key.write(defaults));
    std::string aliases;
    for (const std::string& alias : key.spec.aliases) aliases += " " + alias;
    if (!aliases.empty()) out += "    also called" + aliases + "\n";
  }
  return out;
}

}  // namespace sluice

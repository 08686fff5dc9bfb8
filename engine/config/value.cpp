// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/value.h"

#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

#include <fmt/core.h>

#include "devices/base/error.h"

namespace sluice {
namespace {

ConfigValue convert(const toml::node& node, const std::string& name) {
  ConfigValue out;
  out.where = fmt::format("{}:{}", name, node.source().begin.line);
  if (const auto* boolean = node.as_boolean()) {
    out.value = boolean->get();
  } else if (const auto* integer = node.as_integer()) {
    out.value = integer->get();
  } else if (const auto* real = node.as_floating_point()) {
    out.value = real->get();
  } else if (const auto* text = node.as_string()) {
    out.value = text->get();
  } else if (const auto* array = node.as_array()) {
    ConfigList list;
    for (const toml::node& element : *array) list.push_back(convert(element, name));
    out.value = std::move(list);
  } else if (const auto* table = node.as_table()) {
    ConfigTable fields;
    for (const auto& [key, field] : *table) {
      fields.push_back({std::string(key.str()), convert(field, name)});
    }
    out.value = std::move(fields);
  } else {
    throw Error(ErrorKind::kConfig, out.where + ": dates and times have no use here");
  }
  return out;
}

}  // namespace

std::vector<ConfigEntry> parse_toml(const std::string& text, const std::string& name) {
  toml::table root;
  try {
    root = parse_guarded_toml(text, name);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kConfig, fmt::format("{}:{}: not TOML: {}", name,
                                                error.source().begin.line, error.description()));
  }
  std::vector<ConfigEntry> entries;
  for (const auto& [key, node] : root) {
    const std::string section(key.str());
    const toml::table* fields = node.as_table();
    if (fields == nullptr) {
      entries.push_back({section, convert(node, name)});
      continue;
    }
    for (const auto& [field, value] : *fields) {
      entries.push_back({section + "." + std::string(field.str()), convert(value, name)});
    }
  }
  return entries;
}

ConfigValue parse_flag_value(const std::string& flag, const std::string& text) {
  ConfigValue out;
  out.value = text;
  try {
    const toml::table root = parse_guarded_toml("value = " + text, flag);
    if (root.size() == 1) out = convert(*root.get("value"), flag);
  } catch (const toml::parse_error&) {
    // A bare word.
  } catch (const Error&) {
    // Looks like a date.
  }
  out.text = text;
  out.where = flag;
  return out;
}

std::string toml_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || code == 0x7f) {
      out += fmt::format("\\u{:04X}", code);
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace sluice

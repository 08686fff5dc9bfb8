// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/core.h>

#include "engine/config/codec.h"
#include "engine/config/place_rules.h"

// Paths, lists of paths and placement rules.

namespace sluice {
namespace {

std::string absolute(const std::string& text, const std::filesystem::path& folder) {
  return (folder / text).lexically_normal().string();
}

PlaceRule read_rule(const ConfigValue& value, const ReadContext& context) {
  const BadValue bad{type_text(PlaceRules{}, context.spec)};
  const auto* fields = std::get_if<ConfigTable>(&value.value);
  if (fields == nullptr) throw bad;
  PlaceRule rule;
  bool has_home = false;
  for (const auto& [name, field] : *fields) {
    const std::string word = word_in(field).value_or("");
    if (name == "layers" && is_layer_list(word)) {
      rule.layers = word;
    } else if (name == "home") {
      read_as(field, context, rule.home);
      has_home = true;
    } else {
      throw bad;
    }
  }
  if (rule.layers.empty() || !has_home) throw bad;
  return rule;
}

}  // namespace

void read_as(const ConfigValue& value, const ReadContext& context, std::string& out) {
  const std::optional<std::string> text = word_in(value);
  if (!text || text->empty()) throw BadValue{type_text(out, context.spec)};
  out = *text;
}

void read_as(const ConfigValue& value, const ReadContext& context, std::filesystem::path& out) {
  std::optional<std::string> text = word_in(value);
  if (!value.text.empty() && !text) text = value.text;  // a folder named 2024
  if (!text) throw BadValue{type_text(out, context.spec)};
  out = text->empty() ? std::string() : absolute(*text, context.folder);
}

void read_as(const ConfigValue& value, const ReadContext& context, std::vector<std::string>& out) {
  std::vector<std::string> paths;
  const auto add = [&](const std::optional<std::string>& text) {
    if (!text || text->empty()) throw BadValue{type_text(out, context.spec)};
    paths.push_back(absolute(*text, context.folder));
  };
  if (const auto* list = std::get_if<ConfigList>(&value.value)) {
    for (const ConfigValue& element : *list) add(word_in(element));
  } else {
    add(value.text.empty() ? word_in(value) : word_in(value).value_or(value.text));
  }
  out = std::move(paths);
}

void read_as(const ConfigValue& value, const ReadContext& context, PlaceRules& out) {
  PlaceRules rules;
  if (const auto* list = std::get_if<ConfigList>(&value.value)) {
    for (const ConfigValue& element : *list) rules.push_back(read_rule(element, context));
  } else {
    HomeChoice home = HomeChoice::kAuto;
    try {
      read_as(value, context, home);
    } catch (const BadValue&) {
      throw BadValue{type_text(out, context.spec)};
    }
    if (home != HomeChoice::kAuto) rules.push_back({"*", home});
  }
  out = std::move(rules);
}

std::string write_as(const std::string& field, const KeySpec&) { return toml_quoted(field); }

std::string write_as(const std::filesystem::path& field, const KeySpec&) {
  return toml_quoted(field.string());
}

std::string write_as(const std::vector<std::string>& field, const KeySpec&) {
  std::string text;
  for (const std::string& path : field) text += (text.empty() ? "" : ", ") + toml_quoted(path);
  return "[" + text + "]";
}

std::string write_as(const PlaceRules& field, const KeySpec& spec) {
  if (field.empty()) return write_as(HomeChoice::kAuto, spec);
  if (field.size() == 1 && field[0].layers == "*") return write_as(field[0].home, spec);
  std::string text;
  for (const PlaceRule& rule : field) {
    text += fmt::format("{}{{ layers = {}, home = {} }}", text.empty() ? "" : ", ",
                        toml_quoted(rule.layers), write_as(rule.home, spec));
  }
  return "[" + text + "]";
}

std::string type_text(const std::string&, const KeySpec&) { return "a name"; }
std::string type_text(const std::filesystem::path&, const KeySpec&) { return "a path"; }
std::string type_text(const std::vector<std::string>&, const KeySpec&) {
  return "a list of files, folders or globs";
}
std::string type_text(const PlaceRules&, const KeySpec& spec) {
  return type_text(HomeChoice::kAuto, spec) +
         ", or rules as [{ layers = \"0-3,head\", home = \"host\" }, { layers = \"*\", home = "
         "\"storage\" }]";
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// From a written value to a field's type and back: one pair of functions per
// type, shared by files, flags, presets and --print-config.
//
// read_as(value, spec, out)   fills `out`, or throws BadValue saying what is wanted
// write_as(field, spec)       the TOML of a field; read_as gives it back unchanged
// type_text(field, spec)      what is wanted, for help and errors

#include <array>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/config/run_config.h"
#include "engine/config/value.h"

namespace sluice {

struct BadValue {
  std::string wanted;  // "an integer, at least 1"
};

struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool open_low = false, open_high = false;

  bool holds(double x) const;
  std::string text() const;  // ", at least 1"; empty without limits
};

// What a type alone does not say about a key.
struct KeySpec {
  std::string name;
  std::string help;
  std::vector<std::string> aliases = {};
  Range range = {};
  std::string unset = "auto";  // how an optional field without a value is written
};

struct ReadContext {
  const KeySpec& spec;
  const std::filesystem::path& folder;  // that relative paths start from; absolute
};

void read_as(const ConfigValue& value, const ReadContext& context, bool& out);
void read_as(const ConfigValue& value, const ReadContext& context, std::int64_t& out);
void read_as(const ConfigValue& value, const ReadContext& context, double& out);
void read_as(const ConfigValue& value, const ReadContext& context, float& out);
void read_as(const ConfigValue& value, const ReadContext& context, Bytes& out);
void read_as(const ConfigValue& value, const ReadContext& context, std::string& out);
void read_as(const ConfigValue& value, const ReadContext& context, std::filesystem::path& out);
void read_as(const ConfigValue& value, const ReadContext& context, std::vector<std::string>& out);
void read_as(const ConfigValue& value, const ReadContext& context, Wave& out);
void read_as(const ConfigValue& value, const ReadContext& context, StepRange& out);
void read_as(const ConfigValue& value, const ReadContext& context, PlaceRules& out);

std::string write_as(bool field, const KeySpec& spec);
std::string write_as(std::int64_t field, const KeySpec& spec);
std::string write_as(double field, const KeySpec& spec);
std::string write_as(float field, const KeySpec& spec);
std::string write_as(Bytes field, const KeySpec& spec);
std::string write_as(const std::string& field, const KeySpec& spec);
std::string write_as(const std::filesystem::path& field, const KeySpec& spec);
std::string write_as(const std::vector<std::string>& field, const KeySpec& spec);
std::string write_as(Wave field, const KeySpec& spec);
std::string write_as(StepRange field, const KeySpec& spec);
std::string write_as(const PlaceRules& field, const KeySpec& spec);

std::string type_text(bool field, const KeySpec& spec);
std::string type_text(std::int64_t field, const KeySpec& spec);
std::string type_text(double field, const KeySpec& spec);
std::string type_text(float field, const KeySpec& spec);
std::string type_text(Bytes field, const KeySpec& spec);
std::string type_text(const std::string& field, const KeySpec& spec);
std::string type_text(const std::filesystem::path& field, const KeySpec& spec);
std::string type_text(const std::vector<std::string>& field, const KeySpec& spec);
std::string type_text(Wave field, const KeySpec& spec);
std::string type_text(StepRange field, const KeySpec& spec);
std::string type_text(const PlaceRules& field, const KeySpec& spec);

// The words of an enumeration. The first word of a value is the one written; the
// others, Hugging Face's, are read.
template <typename Enum>
using Words = std::vector<std::pair<std::string_view, Enum>>;
template <typename Enum>
const Words<Enum>& words_of();
template <>
const Words<Family>& words_of();
template <>
const Words<GeluForm>& words_of();
template <>
const Words<ModelStart>& words_of();
template <>
const Words<TokenFormat>& words_of();
template <>
const Words<DType>& words_of();
template <>
const Words<OnNonFinite>& words_of();
template <>
const Words<Preset>& words_of();
template <>
const Words<ScheduleKind>& words_of();
template <>
const Words<HomeChoice>& words_of();
template <>
const Words<RecomputeChoice>& words_of();
template <>
const Words<UpdateTiming>& words_of();
template <>
const Words<AdamPlace>& words_of();
template <>
const Words<IoChoice>& words_of();

// The word itself, or nothing where `value` is no string.
std::optional<std::string> word_in(const ConfigValue& value);

template <typename Enum>
requires std::is_enum_v<Enum> std::string type_text(Enum, const KeySpec&) {
  std::string text;
  std::vector<Enum> seen;
  for (const auto& [word, value] : words_of<Enum>()) {
    if (!seen.empty() && seen.back() == value) continue;
    text += (text.empty() ? "\"" : ", \"") + std::string(word) + '"';
    seen.push_back(value);
  }
  return "one of " + text;
}

template <typename Enum>
requires std::is_enum_v<Enum>
void read_as(const ConfigValue& value, const ReadContext& context, Enum& out) {
  const std::optional<std::string> word = word_in(value);
  for (const auto& [name, candidate] : words_of<Enum>()) {
    if (word == name) {
      out = candidate;
      return;
    }
  }
  throw BadValue{type_text(out, context.spec)};
}

template <typename Enum>
requires std::is_enum_v<Enum> std::string write_as(Enum field, const KeySpec&) {
  for (const auto& [name, candidate] : words_of<Enum>()) {
    if (candidate == field) return toml_quoted(std::string(name));
  }
  return {};
}

template <typename T>
std::string type_text(const std::optional<T>&, const KeySpec& spec) {
  return type_text(T{}, spec) + ", or \"" + spec.unset + '"';
}

template <typename T>
void read_as(const ConfigValue& value, const ReadContext& context, std::optional<T>& out) {
  if (word_in(value) == context.spec.unset) {
    out.reset();
    return;
  }
  T inner{};
  try {
    read_as(value, context, inner);
  } catch (const BadValue&) {
    throw BadValue{type_text(out, context.spec)};
  }
  out = std::move(inner);
}

template <typename T>
std::string write_as(const std::optional<T>& field, const KeySpec& spec) {
  return field ? write_as(*field, spec) : toml_quoted(spec.unset);
}

}  // namespace sluice

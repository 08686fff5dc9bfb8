// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/codec.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

#include "devices/base/error.h"
#include "devices/base/format.h"

namespace sluice {

bool Range::holds(double x) const {
  return (open_low ? x > low : x >= low) && (open_high ? x < high : x <= high);
}

std::string Range::text() const {
  const bool has_low = std::isfinite(low);
  const bool has_high = std::isfinite(high);
  if (!has_low && !has_high) return "";
  const std::string at_least = fmt::format("{} {}", open_low ? "above" : "at least", low);
  const std::string at_most = fmt::format("{} {}", open_high ? "below" : "at most", high);
  if (!has_high) return ", " + at_least;
  if (!has_low) return ", " + at_most;
  return fmt::format(", {} and {}", at_least, at_most);
}

std::optional<std::string> word_in(const ConfigValue& value) {
  const auto* text = std::get_if<std::string>(&value.value);
  return text == nullptr ? std::nullopt : std::optional(*text);
}

void read_as(const ConfigValue& value, const ReadContext& context, bool& out) {
  const bool* flag = std::get_if<bool>(&value.value);
  if (flag == nullptr) throw BadValue{type_text(out, context.spec)};
  out = *flag;
}

void read_as(const ConfigValue& value, const ReadContext& context, std::int64_t& out) {
  const auto* number = std::get_if<std::int64_t>(&value.value);
  if (number == nullptr || !context.spec.range.holds(static_cast<double>(*number))) {
    throw BadValue{type_text(out, context.spec)};
  }
  out = *number;
}

void read_as(const ConfigValue& value, const ReadContext& context, double& out) {
  double number = std::nan("");
  if (const auto* real = std::get_if<double>(&value.value)) number = *real;
  if (const auto* whole = std::get_if<std::int64_t>(&value.value)) {
    number = static_cast<double>(*whole);
  }
  if (!value.text.empty() && std::isnan(number)) {  // ".5" is no TOML
    const char* end = value.text.data() + value.text.size();
    double typed = 0;
    if (std::from_chars(value.text.data(), end, typed).ptr == end) number = typed;
  }
  if (!std::isfinite(number) || !context.spec.range.holds(number)) {
    throw BadValue{type_text(out, context.spec)};
  }
  out = number;
}

void read_as(const ConfigValue& value, const ReadContext& context, float& out) {
  double wide = 0;
  read_as(value, context, wide);
  out = static_cast<float>(wide);
}

void read_as(const ConfigValue& value, const ReadContext& context, Bytes& out) {
  Bytes size;
  try {
    if (const auto* number = std::get_if<std::int64_t>(&value.value)) {
      size = {*number};
    } else if (const auto word = word_in(value)) {
      size = parse_bytes(*word);
    } else {
      throw BadValue{type_text(out, context.spec)};
    }
  } catch (const Error&) {
    throw BadValue{type_text(out, context.spec)};
  }
  if (size.value < 0 || !context.spec.range.holds(static_cast<double>(size.value))) {
    throw BadValue{type_text(out, context.spec)};
  }
  out = size;
}

void read_as(const ConfigValue& value, const ReadContext& context, Wave& out) {
  if (word_in(value) == "all") {
    out = {0};
    return;
  }
  const auto* number = std::get_if<std::int64_t>(&value.value);
  if (number == nullptr || *number < 1) throw BadValue{type_text(out, context.spec)};
  out = {*number};
}

// A trace is kept in memory until the end of the run.
constexpr std::int64_t kMostTraced = 1000;

void read_as(const ConfigValue& value, const ReadContext& context, StepRange& out) {
  StepRange range;
  if (const auto* one = std::get_if<std::int64_t>(&value.value)) {
    range = {*one, *one};
  } else {
    const std::string text = word_in(value).value_or("");
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, range.first);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ':') {
      throw BadValue{type_text(out, context.spec)};
    }
    const auto last = std::from_chars(first.ptr + 1, end, range.last);
    if (last.ec != std::errc{} || last.ptr != end) throw BadValue{type_text(out, context.spec)};
  }
  if (range.first < 0 || range.last < range.first || range.last - range.first >= kMostTraced)
    throw BadValue{type_text(out, context.spec)};
  out = range;
}

std::string write_as(bool field, const KeySpec&) { return field ? "true" : "false"; }
std::string write_as(std::int64_t field, const KeySpec&) { return fmt::format("{}", field); }
std::string write_as(double field, const KeySpec&) { return fmt::format("{}", field); }
std::string write_as(float field, const KeySpec&) { return fmt::format("{}", field); }
std::string write_as(Bytes field, const KeySpec&) {
  constexpr std::pair<const char*, int> kUnits[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}};
  for (const auto& [unit, shift] : kUnits) {
    const std::int64_t size = std::int64_t{1} << shift;
    if (field.value > 0 && field.value % size == 0) {
      return fmt::format("\"{}{}\"", field.value / size, unit);
    }
  }
  return fmt::format("\"{}B\"", field.value);
}
std::string write_as(Wave field, const KeySpec&) {
  return field.micro_batches == 0 ? "\"all\"" : fmt::format("{}", field.micro_batches);
}
std::string write_as(StepRange field, const KeySpec&) {
  return fmt::format("\"{}:{}\"", field.first, field.last);
}

std::string type_text(bool, const KeySpec&) { return "true or false"; }
std::string type_text(std::int64_t, const KeySpec& spec) {
  return "an integer" + spec.range.text();
}
std::string type_text(double, const KeySpec& spec) { return "a number" + spec.range.text(); }
std::string type_text(float, const KeySpec& spec) { return "a number" + spec.range.text(); }
std::string type_text(Bytes, const KeySpec& spec) {
  const double low = spec.range.low;
  return low > 1 ? fmt::format("a size as \"64MiB\", at least {}",
                               format_bytes({static_cast<std::int64_t>(low)}))
                 : "a size as \"64MiB\"";
}
std::string type_text(Wave, const KeySpec&) { return "an integer, at least 1, or \"all\""; }
std::string type_text(StepRange, const KeySpec&) {
  return fmt::format("a step, or a range of at most {} steps as \"2:4\"", kMostTraced);
}

}  // namespace sluice

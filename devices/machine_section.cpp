// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_section.h"

#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/nearest.h"

namespace sluice {

MachineSection::MachineSection(const std::string& file, std::string name, const toml::table* table)
    : file_(file), name_(std::move(name)), table_(table) {}

void MachineSection::only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, node] : *table_) {
    if (std::find(keys.begin(), keys.end(), key.str()) != keys.end()) continue;
    const std::string nearest = nearest_of(key.str(), {keys.begin(), keys.end()});
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{} line {}: unknown key {}{}; {}", file_, node.source().begin.line, name_,
                    printable(key.str()),
                    nearest.empty() ? fmt::format("expected one of {}", fmt::join(keys, ", "))
                                    : fmt::format("the nearest is {}{}", name_, nearest)));
  }
}

const toml::node* MachineSection::optional(std::string_view key) const { return table_->get(key); }

const toml::node& MachineSection::required(std::string_view key) {
  const toml::node* node = optional(key);
  if (node == nullptr) {
    throw Error(ErrorKind::kConfig, fmt::format("{}: {}{} is missing; `sluice probe --out "
                                                "FILE` writes a whole file",
                                                file_, name_, key));
  }
  return *node;
}

void MachineSection::wrong(std::string_view key, std::string_view expected) const {
  throw Error(ErrorKind::kConfig,
              fmt::format("{} line {}: {}{} must be {}", file_,
                          table_->get(key)->source().begin.line, name_, key, expected));
}

bool MachineSection::has(std::string_view key) { return optional(key) != nullptr; }

std::string MachineSection::text(std::string_view key) {
  const toml::node& node = required(key);
  if (!node.is_string()) wrong(key, "a string");
  return *node.value<std::string>();
}

bool MachineSection::boolean(std::string_view key) {
  const toml::node& node = required(key);
  if (!node.is_boolean()) wrong(key, "true or false");
  return *node.value<bool>();
}

Seconds MachineSection::seconds(std::string_view key) {
  constexpr double kMost = 1000;
  const toml::node& node = required(key);
  const double value = node.is_number() ? node.value<double>().value_or(-1) : -1;
  if (!(value >= 0 && value <= kMost)) wrong(key, fmt::format("seconds from 0 to {}", kMost));
  return Seconds{value};
}

std::int64_t MachineSection::positive(std::string_view key, std::int64_t most) {
  const toml::node& node = required(key);
  const std::int64_t value = node.is_integer() ? *node.value<std::int64_t>() : 0;
  if (value < 1 || value > most) wrong(key, fmt::format("a whole number from 1 to {}", most));
  return value;
}

template <typename Amount>
Amount MachineSection::parsed(const std::string& text, std::string_view key,
                              Amount (*parse)(std::string_view)) {
  try {
    return parse(text);
  } catch (const Error& error) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{} line {}: {}{}: {}", file_, table_->get(key)->source().begin.line,
                            name_, key, error.what()));
  }
}

Bytes MachineSection::bytes(std::string_view key) {
  const toml::node& node = required(key);
  constexpr std::int64_t kMost = std::int64_t{1} << 60;
  Bytes value{-1};
  if (node.is_integer()) value = {*node.value<std::int64_t>()};
  if (node.is_string()) value = parsed(*node.value<std::string>(), key, parse_bytes);
  if (value.value < 0 || value.value > kMost) {
    wrong(key, "bytes up to 2^60, or a size such as \"64MiB\"");
  }
  return value;
}

BytesPerSecond MachineSection::rate(std::string_view key) {
  const toml::node& node = required(key);
  BytesPerSecond value;
  if (node.is_number()) {
    value.value = node.value<double>().value_or(0);
  } else if (node.is_string()) {
    value = parsed(*node.value<std::string>(), key, parse_rate);
  }
  if (!(value.value >= 1e3 && value.value <= 1e18)) {
    wrong(key, "a number a second from 1e3 to 1e18; bytes also as in \"25GB/s\"");
  }
  return value;
}

DType MachineSection::dtype(std::string_view key) {
  const std::string name = text(key);
  if (name == name_of(DType::kBFloat16)) return DType::kBFloat16;
  if (name != name_of(DType::kFloat32)) wrong(key, "\"fp32\" or \"bf16\"");
  return DType::kFloat32;
}

double MachineSection::factor(std::string_view key, double least) {
  const toml::node* node = optional(key);
  if (node == nullptr) return 1;
  const double value = node->value<double>().value_or(-1);
  if (!(value >= least && value <= 1)) {
    wrong(key, fmt::format("a number from {} to 1 (both at full rate)", least));
  }
  return value;
}

MachineSection MachineSection::section(std::string_view key) {
  const toml::node& node = required(key);
  if (!node.is_table()) wrong(key, "a table");
  return {file_, fmt::format("{}{}.", name_, key), node.as_table()};
}

std::vector<MachineSection> MachineSection::sections(std::string_view key, std::size_t least) {
  std::vector<MachineSection> all;
  const toml::node* node = least > 0 ? &required(key) : optional(key);
  if (node == nullptr) return all;
  const toml::array* array = node->as_array();
  if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
    wrong(key, fmt::format("at least one [[{}{}]]", name_, key));
  }
  for (const toml::node& entry : *array) {
    all.emplace_back(file_, fmt::format("{}{}.", name_, key), entry.as_table());
  }
  return all;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A table of a machine file while it is read. Heavy to include: for machine_*.cpp alone.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <toml++/toml.h>

#include "devices/base/dtype.h"
#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/units.h"

namespace sluice {

// One table of the file. Each key is asked for once; finish() refuses the rest.
class MachineSection {
 public:
  MachineSection(const std::string& file, std::string name, const toml::table* table)
      : file_(file), name_(std::move(name)), table_(table) {}

  const toml::node* optional(std::string_view key) {
    asked_.emplace_back(key);
    return table_->get(key);
  }
  const toml::node& required(std::string_view key) {
    const toml::node* node = optional(key);
    if (node == nullptr) {
      throw Error(ErrorKind::kConfig, fmt::format("{}: {}{} is missing", file_, name_, key));
    }
    return *node;
  }

  std::string text(std::string_view key) {
    const toml::node& node = required(key);
    if (!node.is_string()) wrong(node, key, "a string");
    return *node.value<std::string>();
  }
  double number(std::string_view key) {
    const toml::node& node = required(key);
    const double value = node.is_number() ? node.value<double>().value_or(-1) : -1;
    if (!(value >= 0 && std::isfinite(value))) wrong(node, key, "a number, not negative");
    return value;
  }
  std::int64_t positive(std::string_view key) {
    const toml::node& node = required(key);
    const std::int64_t value = node.is_integer() ? *node.value<std::int64_t>() : 0;
    if (value < 1) wrong(node, key, "a whole number from 1");
    return value;
  }
  Bytes bytes(std::string_view key) {
    const toml::node& node = required(key);
    if (node.is_integer() && *node.value<std::int64_t>() >= 0) return {*node.value<std::int64_t>()};
    if (!node.is_string()) wrong(node, key, "bytes, or a size such as \"64MiB\"");
    return parsed(node, key, parse_bytes);
  }
  DType dtype(std::string_view key) {
    const std::string name = text(key);
    if (name == name_of(DType::kBFloat16)) return DType::kBFloat16;
    if (name != name_of(DType::kFloat32)) wrong(required(key), key, "\"fp32\" or \"bf16\"");
    return DType::kFloat32;
  }
  BytesPerSecond rate(std::string_view key) {
    const toml::node& node = required(key);
    BytesPerSecond value;
    if (node.is_number()) {
      value.value = node.value<double>().value_or(0);
    } else if (node.is_string()) {
      value = parsed(node, key, parse_rate);
    }
    if (!(value.value > 0 && std::isfinite(value.value)))
      wrong(node, key, "bytes per second above 0, or such as \"25GB/s\"");
    return value;
  }
  MachineSection section(std::string_view key) {
    const toml::node& node = required(key);
    if (!node.is_table()) wrong(node, key, "a table");
    return {file_, fmt::format("{}{}.", name_, key), node.as_table()};
  }
  // [[key]] of this table, as many as there are.
  std::vector<MachineSection> sections(std::string_view key) {
    std::vector<MachineSection> all;
    const toml::node* node = optional(key);
    if (node == nullptr) return all;
    const toml::array* array = node->as_array();
    if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
      wrong(*node, key, fmt::format("[[{}{}]] tables", name_, key));
    }
    for (const toml::node& entry : *array) {
      all.emplace_back(file_, fmt::format("{}{}.", name_, key), entry.as_table());
    }
    return all;
  }

  [[noreturn]] void wrong(const toml::node& node, std::string_view key,
                          std::string_view expected) const {
    throw Error(ErrorKind::kConfig, fmt::format("{} line {}: {}{} must be {}", file_,
                                                node.source().begin.line, name_, key, expected));
  }

  void finish() const {
    for (const auto& [key, node] : *table_) {
      if (std::find(asked_.begin(), asked_.end(), key.str()) != asked_.end()) continue;
      throw Error(ErrorKind::kConfig,
                  fmt::format("{} line {}: unknown key {}{}: expected one of {}", file_,
                              node.source().begin.line, name_, printable(key.str()),
                              fmt::join(asked_, ", ")));
    }
  }

 private:
  template <typename Amount>
  Amount parsed(const toml::node& node, std::string_view key, Amount (*parse)(std::string_view)) {
    try {
      return parse(*node.value<std::string_view>());
    } catch (const Error& error) {
      throw Error(ErrorKind::kConfig,
                  fmt::format("{} line {}: {}{}: {}", file_, node.source().begin.line, name_, key,
                              error.what()));
    }
  }

  const std::string& file_;
  std::string name_;  // "links.", for messages
  const toml::table* table_;
  std::vector<std::string> asked_;
};

}  // namespace sluice

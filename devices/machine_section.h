// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A table of a machine file while it is read. Errors: kConfig with file, line, key and what was
// expected.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/dtype.h"
#include "devices/base/units.h"

namespace toml {
inline namespace v3 {
class node;
class table;
}  // namespace v3
}  // namespace toml

namespace sluice {

class MachineSection {
 public:
  // `name` is "links.", for messages. Borrows `file` and `table`.
  MachineSection(const std::string& file, std::string name, const toml::table* table);

  // Refuses all other keys. First of all: a key that is missing may only be misspelt.
  void only(std::initializer_list<std::string_view> keys) const;

  bool has(std::string_view key);
  std::string text(std::string_view key);
  bool boolean(std::string_view key);
  // Beyond these limits of amounts no machine is, and forecasts would be no numbers.
  Seconds seconds(std::string_view key);
  std::int64_t positive(std::string_view key, std::int64_t most = std::int64_t{1} << 40);
  Bytes bytes(std::string_view key);
  BytesPerSecond rate(std::string_view key);
  DType dtype(std::string_view key);
  // A share that is optional: 1 if absent, else from `least` to 1.
  double factor(std::string_view key, double least);
  MachineSection section(std::string_view key);
  // [[key]] of this table, `least` of them or more.
  std::vector<MachineSection> sections(std::string_view key, std::size_t least = 0);

  // For a key that is there.
  [[noreturn]] void wrong(std::string_view key, std::string_view expected) const;

 private:
  const toml::node* optional(std::string_view key) const;
  const toml::node& required(std::string_view key);
  template <typename Amount>
  Amount parsed(const std::string& text, std::string_view key, Amount (*parse)(std::string_view));

  const std::string& file_;
  std::string name_;
  const toml::table* table_;
};

}  // namespace sluice

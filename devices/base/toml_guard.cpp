// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace sluice {
namespace {

constexpr std::size_t kLargestToml = 1 << 20;
constexpr std::size_t kDeepestToml = 64;

[[noreturn]] void refuse(const char* what, std::string_view before) {
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const toml::source_position at{static_cast<toml::source_index>(line), 1};
  throw toml::parse_error(what, toml::source_region{at, at, nullptr});
}

// Behind the string that begins at `at`. Of one that has no end, anywhere will do: toml++ reads
// no further than that.
std::size_t end_of_string(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const std::string three(3, quote);
  const bool block = text.substr(at, 3) == three;
  for (at += block ? 3 : 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (!block && (text[at] == quote || text[at] == '\n')) {
      return at + 1;
    } else if (block && text.substr(at, 3) == three) {
      // Up to two more quotes belong to the text.
      return std::min(text.find_first_not_of(quote, at + 3), at + 5);
    }
  }
  return text.size();
}

// Counts what toml++ would nest: brackets, and dots outside of strings until the key they stand
// in is over. A dot of a number counts too, and no harm is done.
void check_depth(std::string_view text) {
  std::vector<std::size_t> outer;  // the depth around each open bracket
  std::size_t depth = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      at = end_of_string(text, at);
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    ++at;
    if (c == '[' || c == '{') outer.push_back(depth);
    if (c == '[' || c == '{' || c == '.') ++depth;
    if ((c == ']' || c == '}') && !outer.empty()) {
      depth = outer.back();
      outer.pop_back();
    }
    if (c == ',' || c == '\n') depth = outer.empty() ? 0 : outer.back() + 1;
    if (depth > kDeepestToml) refuse("nested more than 64 deep", text.substr(0, at));
  }
}

}  // namespace

void refuse_toml() { refuse("cannot be read as TOML", {}); }

toml::table parse_guarded_toml(std::string_view text, const std::string& name) {
  if (text.size() > kLargestToml) refuse("larger than 1 MiB", {});
  check_depth(text);
  return toml::parse(text, name);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

#include <string>

namespace sluice {

void refuse_toml() { throw toml::parse_error("cannot be read as TOML", toml::source_region{}); }

namespace {

// Whether a key may stand behind `c`, a character outside of strings.
void follow(char c, bool& key, std::string& open_brackets) {
  if (c == '{' || (c == '[' && !key)) {
    open_brackets += c;
    key = c == '{';
  } else if (c == '=' || c == ']' || c == '}') {
    if (c != '=' && !open_brackets.empty()) open_brackets.pop_back();
    key = false;
  } else if (c == ',') {
    key = !open_brackets.empty() && open_brackets.back() == '{';
  } else if (c == '\n' && open_brackets.empty()) {
    key = true;
  }
}

}  // namespace

void check_toml(std::string_view text) {
  const auto refuse = [](const char* what, toml::source_index line) {
    throw toml::parse_error(what, toml::source_region{.begin = {line, 1}, .end = {line, 1}});
  };
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::string_view end;  // of the string or comment that we are in; empty: in neither
  toml::source_index line = 1;
  char before = '\n';         // the last character outside of strings that is no space
  bool key = true;            // outside of strings: where a key, not a value, stands
  std::string open_brackets;  // of values
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest[0] == '\n') ++line;
    if (end.empty()) {
      if (static_cast<unsigned char>(rest[0]) >= 0x80) {
        refuse("a character that may only stand in a string or a comment", line);
      }
      // Keys and values may begin with a quote; in the middle of one it begins no string.
      const bool quote = rest[0] == '"' || rest[0] == '\'';
      const bool begins = std::string_view("=[,{\n").find(before) != std::string_view::npos ||
                          (before == '.' && key);
      if (quote && !begins) refuse("a quote in the middle of a key or a value", line);
      follow(rest[0], key, open_brackets);
      if (rest[0] != ' ' && rest[0] != '\t' && rest[0] != '\r') before = rest[0];
      for (const std::string_view open : {"\"\"\"", "'''", "\"", "'"}) {
        if (end.empty() && rest.starts_with(open)) end = open;
      }
      if (rest[0] == '#') end = "\n";
      if (!end.empty() && end != "\n") i += end.size() - 1;
    } else if (end[0] == '"' && rest[0] == '\\') {
      // What it escapes, or what follows the space that it drops at a line's end.
      const std::size_t next = end.size() == 3 ? text.find_first_not_of(" \t\r\n", i + 1) : i + 1;
      if (next < text.size() && static_cast<unsigned char>(text[next]) >= 0x80) {
        refuse("a character beyond ASCII right behind a backslash", line);
      }
      ++i;
      if (i < text.size() && text[i] == '\n') ++line;
    } else if (rest.starts_with(end) || (end.size() == 1 && rest[0] == '\n')) {
      i += end.size() - 1;
      // Up to two more quotes belong to a string of several lines.
      while (end.size() == 3 && i + 1 < text.size() && text[i + 1] == end[0]) ++i;
      before = rest[0];
      follow(before, key, open_brackets);
      end = {};
    }
  }
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/config/place_rules.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace sluice {
namespace {

constexpr std::int64_t kAllBlocks = INT64_MAX;

struct Item {
  bool embedding = false, head = false;
  std::int64_t first = 0, last = -1;  // blocks
};

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || at != end || value < 0) return std::nullopt;
  return value;
}

std::optional<Item> parse_item(std::string_view text) {
  if (text == "*") return Item{true, true, 0, kAllBlocks};
  if (text == "embedding") return Item{.embedding = true};
  if (text == "head") return Item{.head = true};
  const std::size_t dash = text.find('-');
  const auto first = number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return Item{false, false, *first, *last};
}

// Calls `act` with each item; nothing for one that is none.
template <typename Act>
void for_each_item(std::string_view list, Act act) {
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    act(parse_item(list.substr(begin, end - begin)));
    begin = end + 1;
  }
}

bool names(const Item& item, LayerName layer) {
  if (layer.kind == LayerName::Kind::kEmbedding) return item.embedding;
  if (layer.kind == LayerName::Kind::kHead) return item.head;
  return item.first <= layer.block && layer.block <= item.last;
}

}  // namespace

bool is_layer_list(const std::string& list) {
  bool good = true;
  for_each_item(list, [&](const std::optional<Item>& item) { good = good && item.has_value(); });
  return good;
}

std::int64_t last_block(const std::string& list) {
  std::int64_t last = -1;
  for_each_item(list, [&](const std::optional<Item>& item) {
    if (item && item->last != kAllBlocks) last = std::max(last, item->last);
  });
  return last;
}

HomeChoice home_of(const PlaceRules& rules, LayerName layer) {
  for (const PlaceRule& rule : rules) {
    bool found = false;
    for_each_item(rule.layers, [&](const std::optional<Item>& item) {
      found = found || (item && names(*item, layer));
    });
    if (found) return rule.home;
  }
  return HomeChoice::kAuto;
}

}  // namespace sluice

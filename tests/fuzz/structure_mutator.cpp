// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tests/fuzz/structure_mutator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order, and a key that stands twice

constexpr std::size_t kPrefix = sizeof(std::uint64_t);
constexpr std::size_t kMostData = 4096;
constexpr int kDeepest = 128;  // dump() calls itself for each level

bool is_deep(std::string_view text) {
  int depth = 0, deepest = 0;
  for (const char c : text) {
    depth += static_cast<int>(c == '[' || c == '{') - static_cast<int>(c == ']' || c == '}');
    deepest = std::max(deepest, depth);
  }
  return deepest > kDeepest;
}

// A document, whose values the mutator takes at random.
class Mutator {
 public:
  Mutator(Json& document, std::uint64_t seed) : random_(seed) { collect(document); }

  std::uint64_t below(std::uint64_t end) { return random_() % end; }

  // Of one value, or of all that it holds.
  void mutate() {
    Json& value = any();
    if (below(8) == 0) {
      value = Json(any());  // a copy, which may hold it
    } else if (below(24) == 0) {
      nest(value);
    } else if (value.is_number()) {
      value = below(2) == 0 ? limit() : sum(value, step());
    } else if (value.is_string()) {
      value = text();
    } else if (value.is_array()) {
      change_array(value);
    } else if (value.is_object() && !value.empty()) {
      change_object(value.get_ref<Json::object_t&>());
    } else {
      value = literal();
    }
  }

 private:
  void collect(Json& value) {
    values_.push_back(&value);
    if (!value.is_structured()) return;
    for (Json& inner : value) collect(inner);
  }

  Json& any() { return *values_[below(values_.size())]; }

  template <typename T, std::size_t count>
  const T& one_of(const std::array<T, count>& choices) {
    return choices[below(count)];
  }

  std::int64_t step() { return static_cast<std::int64_t>(below(9)) - 4; }

  // Without overflow: at the ends of its range a number wraps.
  static Json sum(const Json& value, std::int64_t step) {
    if (value.is_number_float()) return value.get<double>() + static_cast<double>(step);
    const std::uint64_t bits = value.get<std::uint64_t>() + static_cast<std::uint64_t>(step);
    if (value.is_number_unsigned() && value.get<std::uint64_t>() >= 4) return bits;
    return static_cast<std::int64_t>(bits);
  }

  Json limit() {
    static const std::array<Json, 10> kLimits{0,
                                              -1,
                                              1,
                                              std::numeric_limits<std::int64_t>::max(),
                                              std::numeric_limits<std::int64_t>::min(),
                                              std::uint64_t{1} << 63,
                                              std::numeric_limits<std::uint64_t>::max(),
                                              0.5,
                                              -0.0,
                                              1e300};
    return below(2) == 0 ? one_of(kLimits) : Json(std::uint64_t{1} << below(63));
  }

  Json text() {
    static const std::array<std::string, 16> kTexts{
        "",    ".",   "..",  "../x", "/etc/passwd", "a/b", "a\\b", std::string("a\0b", 3),
        "F32", "F16", "F64", "BF16", "I64",         "U8",  "BOOL", "F8_E4M3"};
    return below(8) == 0 ? std::string(300, 'x') : one_of(kTexts);
  }

  Json literal() {
    static const std::array<Json, 5> kLiterals{nullptr, true, false, Json::array(), Json::object()};
    return one_of(kLiterals);
  }

  // Around the deepest that readers take, 64, and within what is_deep() lets pass next time.
  void nest(Json& value) {
    for (std::uint64_t levels = one_of(std::array<std::uint64_t, 3>{1, 2, 62}); levels > 0;
         --levels) {
      Json around = Json::array();
      around.push_back(std::move(value));
      value = std::move(around);
    }
  }

  void change_array(Json& array) {
    if (array.empty()) {
      array.push_back(below(3));
      return;
    }
    Json& value = array[below(array.size())];
    switch (below(5)) {
      case 0:
        array.insert(array.end(), Json(value));
        break;
      case 1:
        array.erase(below(array.size()));
        break;
      case 2:
        std::swap(value, array[below(array.size())]);
        break;
      case 3:  // such as a shape whose product overflows
        std::fill(array.begin(), array.end(), limit());
        break;
      default:  // such as offsets, moved together
        for (const std::int64_t by = step(); Json & each : array) {
          if (each.is_number()) each = sum(each, by);
        }
    }
  }

  // Members are made anew: no key of the map can be assigned to.
  void change_object(Json::object_t& object) {
    std::vector<std::pair<std::string, Json>> members(object.begin(), object.end());
    const auto at = members.begin() + static_cast<std::ptrdiff_t>(below(members.size()));
    auto& other = members[below(members.size())];
    switch (below(6)) {
      case 0:
        members.push_back({at->first, other.second});  // the key twice
        break;
      case 1:
        at->first = text();
        break;
      case 2:
        members.push_back({text(), at->second});
        break;
      case 3:
        members.erase(at);
        break;
      case 4:
        std::swap(*at, other);
        break;
      default:
        std::swap(at->second, other.second);
    }
    object.clear();
    for (auto& [key, value] : members) object.push_back({key, std::move(value)});
  }

  std::mt19937_64 random_;
  std::vector<Json*> values_;
};

// Bytes of data as the offsets of a header have it: up to the last end or, where they overlap
// or leave gaps, all together. 0 where they say nothing of use.
std::size_t data_size(const Json& header, bool together) {
  std::size_t end = 0, sum = 0;
  for (const Json& tensor : header) {
    const Json offsets = tensor.is_object() ? tensor.value("data_offsets", Json()) : Json();
    const auto is_number = [](const Json& value) { return value.is_number_integer(); };
    if (offsets.size() != 2 || !std::ranges::all_of(offsets, is_number)) continue;
    end = std::max(end, offsets[1].get<std::size_t>());
    sum += offsets[1].get<std::size_t>() - offsets[0].get<std::size_t>();
  }
  const std::size_t size = together ? sum : end;
  return size <= kMostData ? size : 0;
}

std::optional<Json> parsed(std::string_view text) {
  if (is_deep(text)) return std::nullopt;
  Json json = Json::parse(text, /*callback=*/nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

}  // namespace

std::optional<std::string> mutated_structure(std::string_view bytes, std::uint64_t seed) {
  std::string data;
  std::optional<Json> json = parsed(bytes);
  const bool is_framed = !json && bytes.size() > kPrefix;
  if (is_framed) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), kPrefix);
    const std::string_view rest = bytes.substr(kPrefix);
    if (length > rest.size()) return std::nullopt;
    json = parsed(rest.substr(0, length));
    data = rest.substr(length);
  }
  if (!json) return std::nullopt;

  Mutator mutator(*json, seed);
  mutator.mutate();
  const std::string text = json->dump();
  if (!is_framed) return text;
  if (mutator.below(2) == 0) data.resize(data_size(*json, mutator.below(2) == 0), '\x3c');
  if (mutator.below(16) == 0) data.resize(mutator.below(data.size() + 1));
  const std::uint64_t length = text.size();
  std::string framed(kPrefix, '\0');
  std::memcpy(framed.data(), &length, kPrefix);
  return framed + text + data;
}

}  // namespace sluice

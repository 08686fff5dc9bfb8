// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/strict_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "devices/base/format.h"

namespace sluice {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kDeepest = 64;

// The keys of one object. Most objects have a few, for which comparing all is quickest;
// one set serves object after object, so that a million of them allocate nothing.
class KeySet {
 public:
  void clear() {
    count_ = 0;
    if (!many_.empty()) many_ = {};  // clear() would walk all its buckets, each time
  }

  // False where it is there already.
  bool insert(const std::string& key) {
    if (!many_.empty()) return many_.insert(key).second;
    const auto end = few_.begin() + static_cast<std::ptrdiff_t>(count_);
    if (std::find(few_.begin(), end, key) != end) return false;
    if (count_ < few_.size()) {
      few_[count_++] = key;
      return true;
    }
    many_.insert(few_.begin(), few_.end());
    return many_.insert(key).second;
  }

 private:
  std::array<std::string, 8> few_;
  std::size_t count_ = 0;
  std::unordered_set<std::string> many_;
};

class Checker final : public nlohmann::json_sax<Json> {
 public:
  Checker(const std::string& name, ErrorKind kind, JsonEvents& events)
      : name_(name), kind_(kind), events_(events) {}

  bool null() override {
    return tell([&] { events_.other(); });
  }
  bool boolean(bool) override {
    return tell([&] { events_.other(); });
  }
  bool number_float(double, const std::string&) override {
    return tell([&] { events_.other(); });
  }
  bool binary(Json::binary_t&) override {
    return tell([&] { events_.other(); });
  }
  // Of numbers with a sign alone; -0 is a float to most readers.
  bool number_integer(std::int64_t value) override {
    if (value == 0) return tell([&] { events_.other(); });
    return tell([&] { events_.integer(value); });
  }
  bool number_unsigned(std::uint64_t value) override {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return tell([&] { events_.other(); });
    }
    return tell([&] { events_.integer(static_cast<std::int64_t>(value)); });
  }
  bool string(std::string& value) override {
    return tell([&] { events_.text(value); });
  }

  bool key(std::string& name) override {
    if (!keys_[depth_ - 1].insert(name)) {
      refuse(fmt::format("key {} stands twice in one object", printable(name)));
    }
    return tell([&] { events_.key(name); });
  }
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    refuse(fmt::format("not JSON at byte {}", position));
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(kind_, fmt::format("{}: {}", name_, what));
  }

  template <typename Act>
  static bool tell(Act act) {
    act();
    return true;
  }

  bool open(bool object) {
    if (depth_ == kDeepest) refuse(fmt::format("nested deeper than {}", kDeepest));
    if (++depth_ > keys_.size()) keys_.emplace_back();
    keys_[depth_ - 1].clear();
    return tell([&] { events_.begin(object); });
  }

  bool close() {
    --depth_;
    return tell([&] { events_.end(); });
  }

  const std::string& name_;
  ErrorKind kind_;
  JsonEvents& events_;
  std::size_t depth_ = 0;
  std::vector<KeySet> keys_;  // of each open object
};

}  // namespace

void read_strict_json(std::string_view json, const std::string& name, ErrorKind kind,
                      JsonEvents& events) {
  // nlohmann's reader takes a zero byte for the end of the text.
  const std::size_t zero = json.find('\0');
  if (zero != std::string_view::npos) {
    throw Error(kind, fmt::format("{}: not JSON at byte {}", name, zero + 1));
  }
  Checker checker(name, kind, events);
  Json::sax_parse(json.begin(), json.end(), &checker);
}

void check_strict_json(std::string_view json, const std::string& name, ErrorKind kind) {
  JsonEvents nobody;
  read_strict_json(json, name, kind, nobody);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/format.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "devices/base/error.h"

namespace sluice {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 10> kSizeUnits = {{{"", 1},
                                              {"B", 1},
                                              {"KiB", 0x1p10},
                                              {"MiB", 0x1p20},
                                              {"GiB", 0x1p30},
                                              {"TiB", 0x1p40},
                                              {"kB", 1e3},
                                              {"MB", 1e6},
                                              {"GB", 1e9},
                                              {"TB", 1e12}}};

// Three digits where there is room for them: 1.23, 12.3, 123.
std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size < 9.995) return fmt::format("{:.2f}", value);
  if (size < 99.95) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

std::string_view trimmed(std::string_view text) {
  const std::string_view blank = " \t";
  const std::size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// The number `text` stands for: digits, then one of kSizeUnits.
std::optional<double> parse_amount(std::string_view text) {
  text = trimmed(text);
  double number = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc{} || !std::isfinite(number) || number < 0) return std::nullopt;
  const std::string_view name = trimmed(text.substr(static_cast<std::size_t>(rest - text.data())));
  for (const Unit& unit : kSizeUnits) {
    if (unit.name == name) return number * unit.factor;
  }
  return std::nullopt;
}

}  // namespace

std::string format_bytes(Bytes size) {
  const double value = static_cast<double>(size.value);
  if (std::abs(value) < 1024) return fmt::format("{} B", size.value);
  constexpr std::array<std::string_view, 6> names = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double scaled = value / 1024;
  std::size_t index = 0;
  // 1023.96 KiB would print as 1024: the next unit says it better.
  while (std::abs(scaled) >= 1023.95 && index + 1 < names.size()) {
    scaled /= 1024;
    ++index;
  }
  return fmt::format("{:.1f} {}", scaled, names[index]);
}

std::string format_seconds(Seconds duration) {
  const double seconds = duration.count();
  const double size = std::abs(seconds);
  if (size == 0) return "0 s";
  if (size < 0.9995e-6) return three_digits(seconds * 1e9) + " ns";
  if (size < 0.9995e-3) return three_digits(seconds * 1e6) + " us";
  if (size < 0.9995) return three_digits(seconds * 1e3) + " ms";
  if (size < 99.95) return three_digits(seconds) + " s";
  if (!(size < 1e15)) return fmt::format("{} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (size < 3600) return fmt::format("{} min {:02} s", whole / 60, std::abs(whole) % 60);
  return fmt::format("{} h {:02} min", whole / 3600, std::abs(whole) / 60 % 60);
}

std::string format_rate(BytesPerSecond rate) {
  constexpr std::array<Unit, 4> units = {
      {{"TB/s", 1e12}, {"GB/s", 1e9}, {"MB/s", 1e6}, {"kB/s", 1e3}}};
  for (const Unit& unit : units) {
    if (rate.value >= 0.9995 * unit.factor) {
      return fmt::format("{} {}", three_digits(rate.value / unit.factor), unit.name);
    }
  }
  return fmt::format("{:.0f} B/s", rate.value);
}

std::string format_count(double count) {
  if (std::abs(count) < 1e4) return fmt::format("{:g}", count);
  constexpr std::array<Unit, 4> units = {{{"T", 1e12}, {"B", 1e9}, {"M", 1e6}, {"k", 1e3}}};
  for (const Unit& unit : units) {
    if (std::abs(count) >= 0.9995 * unit.factor) {
      return fmt::format("{} {}", three_digits(count / unit.factor), unit.name);
    }
  }
  return fmt::format("{:g}", count);
}

std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 80;
  std::string out(text.substr(0, kMost));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (text.size() > kMost) out += "...";
  return out;
}

Bytes parse_bytes(std::string_view text) {
  const std::optional<double> amount = parse_amount(text);
  if (!amount) {
    throw Error(ErrorKind::kConfig,
                fmt::format("'{}' is no size: expected a number and B, KiB, MiB, GiB, TiB, kB, MB, "
                            "GB or TB, such as \"64MiB\"",
                            text));
  }
  if (*amount >= 0x1p63) {
    throw Error(ErrorKind::kConfig, fmt::format("'{}' is too large: expected below 8 EiB", text));
  }
  return {std::llround(*amount)};
}

Seconds parse_duration(std::string_view text) {
  double total = 0;
  std::string_view left = trimmed(text);
  while (!left.empty()) {
    double amount = 0;
    const auto [stop, error] = std::from_chars(left.data(), left.data() + left.size(), amount);
    if (error != std::errc() || !(amount >= 0)) total = -1;
    left.remove_prefix(static_cast<std::size_t>(stop - left.data()));
    const char unit = left.empty() ? 's' : left.front();
    if (!left.empty()) left.remove_prefix(1);
    const double scale = unit == 's'   ? 1
                         : unit == 'm' ? 60
                         : unit == 'h' ? 3600
                         : unit == 'd' ? 86400
                                       : -1;
    if (total < 0 || scale < 0) {
      total = -1;
      break;
    }
    total += amount * scale;
  }
  if (total > 0 && std::isfinite(total)) return Seconds{total};
  throw Error(ErrorKind::kConfig,
              fmt::format("'{}' is no duration: expected numbers and d, h, m or s, such as "
                          "\"2h30m\"",
                          text));
}

BytesPerSecond parse_rate(std::string_view text) {
  std::string_view amount_text = trimmed(text);
  if (amount_text.ends_with("/s")) amount_text.remove_suffix(2);
  const std::optional<double> amount = parse_amount(amount_text);
  if (!amount) {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("'{}' is no rate: expected a number and B/s, kB/s, MB/s, GB/s, MiB/s or "
                    "GiB/s, such as \"25GB/s\"",
                    text));
  }
  return {*amount};
}

}  // namespace sluice

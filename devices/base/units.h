// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Amounts that must not be mixed up. Each is a plain integer with a name, so
// `Bytes{n}` and `Tokens{n}` never convert into each other by accident.

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace sluice {

template <typename Tag>
struct Amount {
  std::int64_t value = 0;

  constexpr auto operator<=>(const Amount&) const = default;
  constexpr Amount& operator+=(Amount other) {
    value += other.value;
    return *this;
  }
  constexpr Amount& operator-=(Amount other) {
    value -= other.value;
    return *this;
  }
  friend constexpr Amount operator+(Amount a, Amount b) { return {a.value + b.value}; }
  friend constexpr Amount operator-(Amount a, Amount b) { return {a.value - b.value}; }
  friend constexpr Amount operator*(Amount a, std::int64_t n) { return {a.value * n}; }
};

using Bytes = Amount<struct BytesTag>;
using Tokens = Amount<struct TokensTag>;
using Seconds = std::chrono::duration<double>;

struct BytesPerSecond {
  double value = 0;
};

// Time to move `size` at `rate`. Requires rate.value > 0.
constexpr Seconds operator/(Bytes size, BytesPerSecond rate) {
  return Seconds{static_cast<double>(size.value) / rate.value};
}

constexpr std::size_t count(Bytes size) { return static_cast<std::size_t>(size.value); }

// The smallest multiple of `step` that is not below `value`. Requires step > 0.
constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}
constexpr Bytes round_up(Bytes value, Bytes step) { return {round_up(value.value, step.value)}; }

constexpr std::int64_t divide_up(std::int64_t value, std::int64_t by) {
  return (value + by - 1) / by;
}

namespace literals {
constexpr Bytes operator""_B(unsigned long long n) { return {static_cast<std::int64_t>(n)}; }
constexpr Bytes operator""_KiB(unsigned long long n) {
  return {static_cast<std::int64_t>(n) << 10};
}
constexpr Bytes operator""_MiB(unsigned long long n) {
  return {static_cast<std::int64_t>(n) << 20};
}
constexpr Bytes operator""_GiB(unsigned long long n) {
  return {static_cast<std::int64_t>(n) << 30};
}
}  // namespace literals

}  // namespace sluice

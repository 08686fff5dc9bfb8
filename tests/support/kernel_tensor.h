// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A matrix for kernel tests: fp32 or bf16 in strided, deliberately misaligned memory,
// with canaries before, between and behind its rows.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "devices/base/bf16.h"
#include "devices/base/dtype.h"
#include "devices/base/units.h"

namespace sluice {

// Numbers of elements at which kernels that go over elements are tested.
inline constexpr std::int64_t kElementCounts[] = {0, 1, 15, 33, 20000};

class Tensor {
 public:
  static constexpr std::int64_t kGuard = 64;  // elements before and behind

  // `padding` elements between rows; memory starts 4 bytes off a multiple of 64.
  Tensor(std::int64_t rows, std::int64_t columns, DType dtype = DType::kFloat32,
         std::int64_t padding = 0)
      : rows_(rows),
        columns_(columns),
        stride_(columns + padding),
        dtype_(dtype),
        bytes_(count(bytes_of(dtype, rows * stride_ + 2 * kGuard)) + 128, kCanary) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    first_ = (64 - address % 64) % 64 + 4 + count(bytes_of(dtype, kGuard));
  }
  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t stride() const { return stride_; }
  DType dtype() const { return dtype_; }
  void* data() { return bytes_.data() + first_; }
  float* floats() { return reinterpret_cast<float*>(bytes_.data() + first_); }

  double get(std::int64_t row, std::int64_t column) const {
    const unsigned char* from = element(row, column);
    if (dtype_ == DType::kFloat32) {
      float value = 0;
      std::memcpy(&value, from, sizeof(value));
      return static_cast<double>(value);
    }
    bf16 value;
    std::memcpy(&value, from, sizeof(value));
    return static_cast<double>(to_float(value));
  }
  void set(std::int64_t row, std::int64_t column, double value) {
    unsigned char* to = const_cast<unsigned char*>(element(row, column));
    const auto rounded = static_cast<float>(value);
    if (dtype_ == DType::kFloat32) {
      std::memcpy(to, &rounded, sizeof(rounded));
    } else {
      const bf16 half = to_bf16(rounded);
      std::memcpy(to, &half, sizeof(half));
    }
  }

  // Normal numbers times `size`, rounded to the type.
  void randomize(unsigned seed, double size = 1.0) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0.0, size);
    for (std::int64_t i = 0; i < rows_; ++i) {
      for (std::int64_t j = 0; j < columns_; ++j) set(i, j, normal(random));
    }
  }

  // Dense, row-major.
  std::vector<double> values() const {
    std::vector<double> all;
    all.reserve(static_cast<std::size_t>(rows_ * columns_));
    for (std::int64_t i = 0; i < rows_; ++i) {
      for (std::int64_t j = 0; j < columns_; ++j) all.push_back(get(i, j));
    }
    return all;
  }
  void set_values(const std::vector<double>& values) {
    for (std::int64_t i = 0; i < rows_ * columns_; ++i) {
      set(i / columns_, i % columns_, values[static_cast<std::size_t>(i)]);
    }
  }

  const std::vector<unsigned char>& bytes() const { return bytes_; }

  bool canaries_intact() const {
    std::vector<bool> inside(bytes_.size());
    const auto size = static_cast<std::size_t>(size_of(dtype_));
    for (std::int64_t i = 0; i < rows_; ++i) {
      for (std::int64_t j = 0; j < columns_; ++j) {
        const auto at = static_cast<std::size_t>(element(i, j) - bytes_.data());
        for (std::size_t b = 0; b < size; ++b) inside[at + b] = true;
      }
    }
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      if (!inside[i] && bytes_[i] != kCanary) return false;
    }
    return true;
  }

 private:
  static constexpr unsigned char kCanary = 0xA5;

  const unsigned char* element(std::int64_t row, std::int64_t column) const {
    return bytes_.data() + first_ + count(bytes_of(dtype_, row * stride_ + column));
  }

  std::int64_t rows_, columns_, stride_;
  DType dtype_;
  std::vector<unsigned char> bytes_;
  std::size_t first_;
};

// Every element within `relative` of itself plus the same share of the largest one
// (sums cancel); a bf16 result may be off by its own rounding besides.
inline testing::AssertionResult close(const Tensor& actual, const std::vector<double>& expected,
                                      double relative) {
  if (!actual.canaries_intact()) return testing::AssertionFailure() << "wrote out of bounds";
  double largest = 0;
  for (const double e : expected) largest = std::max(largest, std::abs(e));
  const double rounding = actual.dtype() == DType::kBFloat16 ? 0x1p-8 : 0.0;
  const std::vector<double> values = actual.values();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double allowed =
        relative * (largest + std::abs(expected[i])) + rounding * 1.01 * std::abs(expected[i]);
    if (!(std::abs(values[i] - expected[i]) <= allowed)) {
      return testing::AssertionFailure()
             << "element " << i << " is " << values[i] << ", not " << expected[i] << " (off by "
             << std::abs(values[i] - expected[i]) << ", allowed " << allowed << ")";
    }
  }
  return testing::AssertionSuccess();
}

inline const DType kBothTypes[] = {DType::kFloat32, DType::kBFloat16};

}  // namespace sluice

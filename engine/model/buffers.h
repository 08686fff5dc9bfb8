// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// How a layer cuts the buffers of a LayerCall into its own pieces. Each layer
// has one function that lays its buffers out; sizes (LayerSpec) and pointers
// (forward, backward) both come from it and so cannot disagree.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "offload/workload.h"

namespace sluice {

// Hands out byte offsets, each a multiple of 256.
class Layout {
 public:
  std::int64_t take(Bytes size) {
    const std::int64_t offset = end_;
    end_ = round_up(end_ + size.value, kAlignment);
    peak_ = std::max(peak_, end_);
    return offset;
  }
  std::int64_t take(DType type, std::int64_t count) { return take(bytes_of(type, count)); }
  std::int64_t take_floats(std::int64_t count) { return take(DType::kFloat32, count); }

  // Pieces taken after end() was noted lose their bytes to the ones taken next.
  std::int64_t end() const { return end_; }
  void rewind(std::int64_t end) { end_ = end; }

  Bytes size() const { return {peak_}; }

 private:
  static constexpr std::int64_t kAlignment = 256;
  std::int64_t end_ = 0;
  std::int64_t peak_ = 0;
};

inline float* floats(std::byte* base, std::int64_t offset) {
  return reinterpret_cast<float*>(base + offset);
}

// A matrix in memory; `stride` in elements between rows.
struct Rows {
  std::byte* data = nullptr;
  std::int64_t stride = 0;
};
struct ConstRows {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;

  ConstRows(const std::byte* d, std::int64_t s) : data(d), stride(s) {}
  ConstRows(Rows rows) : data(rows.data), stride(rows.stride) {}  // NOLINT: a view of the same
};

// A tensor inside the flat parameters of a layer.
struct TensorRef {
  int flat = -1;            // index into LayerSpec::flats; -1: the layer has no such tensor
  std::int64_t offset = 0;  // elements

  bool exists() const { return flat >= 0; }
};

inline const std::byte* weight_of(const LayerCall& call, DType dtype, TensorRef tensor) {
  if (!tensor.exists()) return nullptr;
  return call.weights[static_cast<std::size_t>(tensor.flat)] + size_of(dtype) * tensor.offset;
}

inline float* gradient_of(const LayerCall& call, TensorRef tensor) {
  if (!tensor.exists()) return nullptr;
  return call.gradients[static_cast<std::size_t>(tensor.flat)] + tensor.offset;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Measures how fast a device computes: the arithmetic half of a machine file. Each
// figure is the best of a few runs; memory is the caller's arena.

#include <cstddef>
#include <cstdint>
#include <span>

#include "devices/accelerator.h"
#include "devices/workers.h"
#include "kernels/kernels.h"

namespace sluice {

class RateMeter {
 public:
  // `memory` is device memory of at least kMemory bytes; `queue` computes, and was lent the
  // scratch that its kernels want.
  RateMeter(Queue& queue, const KernelTable& kernels, std::span<std::byte> memory, bool quick);

  // FLOP/s of a product; m*k + k*n + m*n elements must fit the memory.
  double matmul(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k);
  // FLOP/s of causal attention, forward, 4 * S^2 / 2 * D per head counted, for four sequences
  // of `length` and eight heads of `head_width`.
  double attention(DType dtype, std::int64_t length, std::int64_t head_width);
  // Bytes per second of an elementwise kernel on `count` numbers, reads and writes added.
  BytesPerSecond elementwise(std::int64_t count);
  // Time of one of many kernels in a row that have next to nothing to do.
  Seconds launch();

  static constexpr Bytes kMemory{192 << 20};

 private:
  template <typename Run>
  double seconds_of(Run run);

  Queue& queue_;
  const KernelTable& kernels_;
  std::span<std::byte> memory_;
  bool quick_;
};

// Traffic of one-pass AdamW on host memory: fp32 state, bf16 gradient and weight. `memory` is
// more than the last-level cache holds, as in training: from the cache Adam runs twice as fast.
BytesPerSecond measure_host_adam(Workers& workers, std::span<std::byte> memory, bool quick);

}  // namespace sluice

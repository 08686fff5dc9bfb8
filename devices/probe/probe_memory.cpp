// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <cstring>
#include <limits>

#include "devices/host/host_arena.h"
#include "devices/probe/probe.h"

namespace sluice {
namespace {

constexpr std::int64_t kChunk = std::int64_t{1} << 20;
// One array starts this much after a multiple of 2 MiB: arrays a power of two
// apart share cache sets and fall to a quarter of the speed.
constexpr std::int64_t kStagger = 4096 + 1024;

template <typename Run>
Seconds best_of(int runs, Run run) {
  Seconds best{std::numeric_limits<double>::infinity()};
  for (int i = 0; i < runs; ++i) {
    const Seconds start = steady_seconds();
    run();
    best = std::min(best, steady_seconds() - start);
  }
  return best;
}

std::int64_t array_size(bool quick) { return std::int64_t{quick ? 32 : 128} << 20; }

}  // namespace

BytesPerSecond measure_memory_copy(Workers& workers, bool quick) {
  const std::int64_t size = array_size(quick);
  HostArena arena({.size = {2 * size + kStagger}, .threads = workers.threads()});
  std::byte* const from = arena.base();
  std::byte* const to = arena.base() + size + kStagger;
  const Seconds time = best_of(quick ? 3 : 8, [&] {
    workers.for_each(size / kChunk, [&](std::int64_t i) {
      std::memcpy(to + i * kChunk, from + i * kChunk, kChunk);
    });
  });
  return {2 * static_cast<double>(size) / time.count()};
}

BytesPerSecond measure_memory_update(Workers& workers, bool quick) {
  const std::int64_t size = array_size(quick);
  HostArena arena({.size = {3 * (size + kStagger)}, .threads = workers.threads()});
  const auto array = [&](int index) {
    return reinterpret_cast<float*>(arena.base() + index * (size + kStagger));
  };
  float* const a = array(0);
  float* const b = array(1);
  float* const c = array(2);
  constexpr std::int64_t count = kChunk / 4;
  const Seconds time = best_of(quick ? 3 : 8, [&] {
    workers.for_each(size / kChunk, [&](std::int64_t chunk) {
      for (std::int64_t i = chunk * count; i < (chunk + 1) * count; ++i) {
        a[i] += 1.0F;
        b[i] += 2.0F;
        c[i] += 3.0F;
      }
    });
  });
  return {6 * static_cast<double>(size) / time.count()};
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/host_arena.h"
#include "devices/probe/probe.h"
#include "devices/probe/typical_time.h"

namespace sluice {
namespace {

constexpr std::int64_t kChunk = std::int64_t{1} << 20;
// One array starts this much after a multiple of 2 MiB: arrays a power of two
// apart share cache sets and fall to a quarter of the speed.
constexpr std::int64_t kStagger = 4096 + 1024;

}  // namespace

BytesPerSecond measure_memory_update(Workers& workers, Bytes total, bool quick) {
  const std::int64_t size = round_up(total.value / 3, kChunk);
  HostArena arena({.size = {3 * (size + kStagger)}, .threads = workers.threads()});
  const auto array = [&](int index) {
    return reinterpret_cast<float*>(arena.base() + index * (size + kStagger));
  };
  float* const a = array(0);
  float* const b = array(1);
  float* const c = array(2);
  constexpr std::int64_t count = kChunk / 4;
  const Seconds time = typical_time(Seconds{quick ? 0.1 : 0.5}, 3, [&] {
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

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A fixed set of threads that share loops. One per lane that computes, so no
// lane steals another's work. Implementations: oneTBB (workers_tbb.cpp), or
// std::thread under ThreadSanitizer (workers_std.cpp), which cannot see into
// Debian's uninstrumented oneTBB.

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "devices/base/units.h"

namespace sluice {

class Workers {
 public:
  // kShared: its loops take turns with those of all other Workers that share their cores,
  // each at full width (core_turns.h). Bodies of one must not wait for bodies of another.
  enum class Cores : std::uint8_t { kOwn, kShared };

  // `threads` >= 1, the calling thread included. `cpus` binds the others to those
  // logical CPUs (empty: the process's affinity). OMP_NUM_THREADS is ignored.
  explicit Workers(int threads, std::vector<int> cpus = {}, Cores cores = Cores::kOwn);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int threads() const noexcept { return threads_; }

  // Runs body(0), ..., body(count - 1), each exactly once, on at most threads()
  // threads, in no given order; returns when all are done. An exception of a
  // body is rethrown. Bodies must not call for_each of the same Workers.
  // Determinism: callers make chunk i's work depend on i alone.
  // Threads: one caller at a time.
  template <typename Body>
  void for_each(std::int64_t count, Body&& body) {
    if (count == 1 || (count > 0 && threads_ == 1)) {
      for (std::int64_t i = 0; i < count; ++i) body(i);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    run(
        count, [](void* b, std::int64_t i) { (*static_cast<Plain*>(b))(i); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  // How many different threads have run bodies so far.
  int threads_seen() const;

  // Runs short bodies until as many threads as threads() have run one: a sweep over
  // thread counts is worth nothing if they do not run. Error{kInternal} where they have
  // not within `patience`; on a busy machine one may wait for seconds.
  // Threads: as for_each.
  void muster(Seconds patience);

 private:
  using Call = void (*)(void* body, std::int64_t index);
  void run(std::int64_t count, Call call, void* body);

  struct Impl;
  int threads_;
  Cores cores_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice

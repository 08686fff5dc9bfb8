// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Training state between runs: filled before the first step, read after a drain,
// wherever the plan keeps it.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "offload/execute.h"
#include "offload/program.h"
#include "offload/state_names.h"
#include "offload/state_sink.h"
#include "offload/workload.h"

namespace sluice {

// Threads    one call at a time, never beside Executor::run.
// Memory     2 MiB of staging, taken in the constructor; state is never copied whole.
// Errors     Error{kIo} of the storage.
class StateAccess {
 public:
  StateAccess(const Workload& workload, const Program& program, const Resources& resources);
  ~StateAccess();

  // Fills a flat parameter: master = values, weight = values in the compute type,
  // moments = 0. `values(first, out)` gives elements [first, first + out.size()).
  using Values = std::function<void(std::int64_t first, std::span<float> out)>;
  void load(int flat, const Values& values);

  // Fills one part: kMaster (and with it the weight, as load() does) or a moment, whose
  // values are converted to the type it is kept in.
  void restore(int flat, StatePart part, const Values& values);

  // Streams one part of a flat parameter to `sink(first, bytes)` in ascending order,
  // in the type that the part is kept in.
  using Sink = std::function<void(std::int64_t first, std::span<const std::byte> bytes)>;
  void read(int flat, StatePart part, const Sink& sink);

  DType dtype_of(StatePart part) const;

 private:
  struct Place {
    BufferId buffer;
    Bytes begin;
  };
  Place place_of(int flat, StatePart part, std::int64_t element) const;
  void put(const Place& place, const std::byte* from, Bytes size);
  void get(const Place& place, std::byte* to, Bytes size);
  template <typename Piece>
  void for_pieces(int flat, Piece piece) const;

  const Workload& workload_;
  const Program& program_;
  Resources resources_;
  std::unique_ptr<Queue> to_device_, from_device_;
  struct Free {
    void operator()(std::byte* bytes) const noexcept;
  };
  std::unique_ptr<std::byte, Free> values_, converted_;
};

// Hands masters and moments, at rest, to `sink` as the state after `step`.
void save_state(const Workload& workload, StateAccess& state, std::int64_t step, StateSink& sink);

// A number per logical tensor and part: what `verify` compares.
struct TensorDigest {
  std::string tensor;
  StatePart part = StatePart::kWeight;
  std::uint64_t digest = 0;

  bool operator==(const TensorDigest&) const = default;
};
std::vector<TensorDigest> digest_state(const Workload& workload, const Program& program,
                                       const Resources& resources);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Collects operations with the moment at which each is to stand in the serial
// order, and sorts them into it. Moments are counted in *points*: the forward and
// backward calls of the compute lane, in order.

#include <compare>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "offload/program.h"

namespace sluice {

// Before the work of a point, with it, or after it. Operations of one moment are
// ordered by deadline (the visit that needs them), then by the order of emission.
struct Moment {
  enum Phase : std::uint8_t { kBefore, kDuring, kAfter };
  std::int32_t point = 0;
  Phase phase = kDuring;
  std::int32_t deadline = 0;
};

class Emitter {
 public:
  BufferId buffer(Tier tier, Role role, Bytes size, bool persistent = false);
  // Makes it at least `size` long.
  void enlarge(BufferId buffer, Bytes size);

  // Operands as accesses. The whole buffer, or bytes of it.
  Access read(BufferId buffer) const { return whole(buffer, true, false); }
  Access write(BufferId buffer) const { return whole(buffer, false, true); }
  Access update(BufferId buffer) const { return whole(buffer, true, true); }
  static Access read(BufferId buffer, Bytes begin, Bytes size) {
    return {buffer, true, false, begin, size};
  }
  static Access write(BufferId buffer, Bytes begin, Bytes size) {
    return {buffer, false, true, begin, size};
  }

  void emit(const Moment& moment, Operation operation, std::initializer_list<Access> accesses);
  void emit(const Moment& moment, Operation operation, const std::vector<Access>& accesses);

  // Moves all of `from` (or the part that the accesses name) one tier on.
  void move(const Moment& moment, Operation operation, const Access& from, const Access& to);

  // The operations in serial order, and all buffers, without offsets.
  Program finish();

  const Buffer& operator[](BufferId id) const { return buffers_[static_cast<std::size_t>(id)]; }
  void make_persistent(BufferId id) { buffers_[static_cast<std::size_t>(id)].persistent = true; }

 private:
  // Where an operation comes in serial order. Sorted without what it stands for, which is
  // five times as large.
  struct Place {
    std::int64_t order;  // point and phase
    std::int32_t deadline;
    std::int32_t index;  // of emission: in operations_
    auto operator<=>(const Place&) const = default;
  };
  Access whole(BufferId buffer, bool reads, bool writes) const {
    return {buffer, reads, writes, {}, (*this)[buffer].size};
  }
  template <typename Accesses>
  void append(const Moment& moment, Operation operation, const Accesses& accesses);

  std::vector<Place> places_;
  std::vector<Operation> operations_;
  std::vector<Access> accesses_;
  std::vector<Buffer> buffers_;
};

// The lane that moves bytes from one tier to a neighbouring one.
Lane lane_between(Tier from, Tier to);

}  // namespace sluice

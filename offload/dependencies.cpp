// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/dependencies.h"

#include <algorithm>

#include "devices/base/error.h"

namespace sluice {
namespace {

// Bytes between two neighbouring boundaries of accesses: the writer and, per
// lane, the latest reader since. Positions count from iteration 0: those of the
// second iteration have the lane's size added.
struct Cell {
  std::int32_t writer = -1;
  Lane writer_lane = Lane::kCompute;
  std::array<std::int32_t, kLaneCount> readers = no_readers();

  static constexpr std::array<std::int32_t, kLaneCount> no_readers() {
    std::array<std::int32_t, kLaneCount> none{};
    none.fill(-1);
    return none;
  }
};

struct Range {
  std::size_t tier = 0;
  std::int64_t begin = 0, end = 0;
};

class Deriver {
 public:
  explicit Deriver(const Program& program) : program_(program) {
    for (const Operation& operation : program.operations) {
      for (const Access& access : program.accesses_of(operation)) {
        if (!access.exists() || access.size.value == 0) continue;
        const Range range = range_of(access);
        boundaries_[range.tier].push_back(range.begin);
        boundaries_[range.tier].push_back(range.end);
      }
    }
    for (std::size_t tier = 0; tier < kTierCount; ++tier) {
      auto& b = boundaries_[tier];
      std::sort(b.begin(), b.end());
      b.erase(std::unique(b.begin(), b.end()), b.end());
      cells_[tier].resize(b.size());
    }
    // The first cell of each access, found once.
    first_cell_.reserve(program.accesses.size());
    for (const Access& access : program.accesses) {
      if (!access.exists()) {
        first_cell_.push_back(0);
        continue;
      }
      const Range range = range_of(access);
      const auto& b = boundaries_[range.tier];
      first_cell_.push_back(static_cast<std::uint32_t>(
          std::lower_bound(b.begin(), b.end(), range.begin) - b.begin()));
    }
  }

  std::vector<Waits> derive() {
    std::vector<Waits> waits(program_.operations.size());
    for (int iteration = 0; iteration < 2; ++iteration) {
      for (std::size_t i = 0; i < program_.operations.size(); ++i) {
        const Operation& operation = program_.operations[i];
        // Edges of all accesses first, and only then the new state: an operation
        // does not wait for itself.
        Waits now;
        for_cells(operation, [&](const Access& access, const Cell& cell) {
          if (cell.writer >= 0) raise(now, cell.writer_lane, cell.writer);
          if (!access.writes) return;
          for (const Lane lane : kLanes) {
            if (cell.readers[index_of(lane)] >= 0) raise(now, lane, cell.readers[index_of(lane)]);
          }
        });
        if (operation.kind == OperationKind::kReport) wait_for_save(now, iteration);
        const std::int32_t own =
            program_.lane_position[i] + iteration * program_.lane_size[index_of(operation.lane)];
        for_cells(operation, [&](const Access& access, Cell& cell) {
          if (access.writes) {
            cell = {.writer = own, .writer_lane = operation.lane};
          } else {
            cell.readers[index_of(operation.lane)] = own;
          }
        });
        if (iteration == 1) waits[i] = relative(now, operation.lane);
      }
    }
    return waits;
  }

 private:
  Range range_of(const Access& access) const {
    const Buffer& buffer = program_.buffers[static_cast<std::size_t>(access.buffer)];
    const std::int64_t begin = buffer.offset.value + access.begin.value;
    return {index_of(buffer.tier), begin, begin + access.size.value};
  }

  template <typename Visit>
  void for_cells(const Operation& operation, Visit visit) {
    for (std::uint32_t a = 0; a < operation.access_count; ++a) {
      const std::size_t index = operation.first_access + a;
      const Access& access = program_.accesses[index];
      if (!access.exists() || access.size.value == 0) continue;
      const Range range = range_of(access);
      const auto& boundaries = boundaries_[range.tier];
      for (std::size_t c = first_cell_[index]; boundaries[c] < range.end; ++c) {
        visit(access, cells_[range.tier][c]);
      }
    }
  }

  // A step is over when the state of the one before it has been handed over, where that is saved:
  // by operations of the iteration before, or of this one where its updates are deferred into it.
  void wait_for_save(Waits& waits, int iteration) const {
    const auto last = std::find_if(program_.operations.rbegin(), program_.operations.rend(),
                                   [](const Operation& o) { return o.lane == Lane::kSave; });
    if (last == program_.operations.rend()) return;
    const int saving = iteration - 1 + last->stage;
    if (saving < 0) return;
    raise(waits, Lane::kSave, (saving + 1) * program_.lane_size[index_of(Lane::kSave)] - 1);
  }

  static void raise(Waits& waits, Lane lane, std::int32_t position) {
    std::int32_t& latest = waits.latest[index_of(lane)];
    latest = std::max(latest, position);
  }

  Waits relative(Waits waits, Lane own) const {
    for (const Lane lane : kLanes) {
      std::int32_t& latest = waits.latest[index_of(lane)];
      if (latest == Waits::kNone) continue;
      latest -= program_.lane_size[index_of(lane)];
      if (lane == own && !has_depth(lane)) latest = Waits::kNone;
    }
    return waits;
  }

  const Program& program_;
  std::array<std::vector<std::int64_t>, kTierCount> boundaries_;
  std::array<std::vector<Cell>, kTierCount> cells_;
  std::vector<std::uint32_t> first_cell_;
};

}  // namespace

std::vector<Waits> derive_waits(const Program& program) { return Deriver(program).derive(); }

}  // namespace sluice

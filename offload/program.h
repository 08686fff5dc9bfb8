// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One training step as data: operations in one legal serial order, each naming
// the bytes it reads and writes and the lane it runs on. The Program is cyclic:
// the next step follows without a barrier. Dependencies are derived from the
// bytes (dependencies.h); simulate, check and execute interpret it.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/units.h"
#include "offload/placement.h"
#include "offload/workload.h"

namespace sluice {

// An in-order queue of one resource. Lanes run in parallel to each other.
enum class Lane : std::uint8_t {
  kCompute,
  kHostToDevice,
  kDeviceToHost,
  kHostCompute,
  kStorageRead,
  kStorageWrite,
  kSave,
};
inline constexpr std::size_t kLaneCount = 7;
inline constexpr std::array kLanes = {Lane::kCompute,     Lane::kHostToDevice, Lane::kDeviceToHost,
                                      Lane::kHostCompute, Lane::kStorageRead,  Lane::kStorageWrite,
                                      Lane::kSave};
std::string_view name_of(Lane lane);  // "compute", "host_to_device", ...
constexpr std::size_t index_of(Lane lane) { return static_cast<std::size_t>(lane); }
constexpr std::size_t index_of(Tier tier) { return static_cast<std::size_t>(tier); }
constexpr std::size_t index_of(Role role) { return static_cast<std::size_t>(role); }

// Device lanes complete in two phases, issued and done; the others at once.
constexpr bool is_device_lane(Lane lane) { return lane <= Lane::kDeviceToHost; }
// A storage lane keeps several operations in flight, so its order of issue is no
// order of completion.
constexpr bool has_depth(Lane lane) {
  return lane == Lane::kStorageRead || lane == Lane::kStorageWrite;
}

// The operand order of each kind is given by the structs in operands.h.
enum class OperationKind : std::uint8_t {
  kPrepare,  // host: tokens of the next step
  kBegin,    // the next step's batch becomes the current one
  kMove,     // bytes from one tier to the next
  kForward,
  kRecompute,  // forward again, for what backward needs
  kBackward,
  kMerge,         // accumulator += accumulator
  kRound,         // gradient rounded once to the type it leaves in; chunks of its norm
  kNorm,          // norm and clip scale
  kUpdate,        // Adam on one segment
  kReport,        // host: losses and norm are known
  kReportDigest,  // host: the digest of the state after a step is known
  kSave,          // a segment, as it is after its update, goes to the run's StateSink
};

using BufferId = std::int32_t;
inline constexpr BufferId kNoBuffer = -1;

// A range of one tier's memory with a lifetime. `offset` is its place in that
// tier's arena (or swap file), assigned by the memory map.
struct Buffer {
  Tier tier = Tier::kDevice;
  Role role = Role::kWorkspace;
  bool persistent = false;  // lives across steps; else from first to last access of a step
  Bytes size;
  Bytes offset;
};

// Bytes [begin, begin + size) of a buffer. An operand that is not there has no buffer.
struct Access {
  BufferId buffer = kNoBuffer;
  bool reads = false;
  bool writes = false;
  Bytes begin;
  Bytes size;

  bool exists() const { return buffer != kNoBuffer; }
};

struct Operation {
  OperationKind kind = OperationKind::kMove;
  Lane lane = Lane::kCompute;
  Role role = Role::kWorkspace;  // what a move carries
  // The operation works for step (iteration - stage): +1 is an update deferred
  // from the step before, -1 prepares the step after.
  std::int8_t stage = 0;
  bool accumulate = false;  // backward: gradients add to what is there
  bool for_save = false;    // runs for the steps whose state is saved, and for no other
  std::int16_t layer = -1;
  std::int16_t flat = -1;
  std::int32_t micro_batch = -1;
  std::int32_t segment = -1;
  std::int32_t piece = 0;  // of a segment's block, where it is saved in pieces
  std::uint32_t first_access = 0;
  std::uint32_t access_count = 0;
};

// How a segment's master and moments lie inside one block: staggered, so that no
// two arrays are a power of two apart (a quarter of the bandwidth, measured), and
// each 4 KiB aligned, so that a block is one transfer.
struct SegmentLayout {
  Bytes first_moment, second_moment;  // offsets; master is at 0
  Bytes size;
};
SegmentLayout segment_layout(std::int64_t elements, DType moments);

// Where a flat parameter lives between its uses.
struct FlatHomes {
  BufferId weight = kNoBuffer;
  BufferId state = kNoBuffer;         // segment blocks, one after the other
  std::int64_t segment_elements = 0;  // of every segment but the last
  std::int32_t segments = 0;
  std::int32_t first_digest = 0;  // index of its first segment among all
  Bytes block_size;               // distance of two segment blocks
  Bytes save_piece;               // of a block on the device, that comes to the host for a save
};

struct Program {
  std::vector<Operation> operations;  // in serial order
  std::vector<Access> accesses;
  std::vector<Buffer> buffers;
  std::vector<FlatHomes> homes;          // per flat parameter
  BufferId queue_scratch = kNoBuffer;    // lent to the compute lane's queue
  std::array<Bytes, kTierCount> extent;  // bytes of each arena that the map uses
  Bytes storage_checksums;               // RAM beside the host arena (checksum_table())
  // Bytes in use at once, by role, at each tier's fullest moment.
  std::array<std::array<Bytes, kRoleCount>, kTierCount> peak_by_role;
  Bytes needs(Tier tier) const {
    return extent[index_of(tier)] + (tier == Tier::kHost ? storage_checksums : Bytes{});
  }
  std::array<std::int32_t, kLaneCount> lane_size{};  // operations per lane
  std::vector<std::int32_t> lane_position;           // of each operation, within its lane

  std::span<const Access> accesses_of(const Operation& operation) const {
    return {accesses.data() + operation.first_access, operation.access_count};
  }
};

// A short name for people: "forward h.3 micro-batch 2", "fetch weights h.4".
std::string label_of(const Workload& workload, const Operation& operation);

// A 64-bit hash of everything in the Program that decides what runs.
std::uint64_t hash_of(const Program& program);

}  // namespace sluice

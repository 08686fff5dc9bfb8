// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/emitter.h"

#include <algorithm>
#include <utility>

#include "devices/base/error.h"

namespace sluice {

BufferId Emitter::buffer(Tier tier, Role role, Bytes size, bool persistent) {
  buffers_.push_back(
      {.tier = tier, .role = role, .persistent = persistent, .size = size, .offset = {}});
  return static_cast<BufferId>(buffers_.size()) - 1;
}

void Emitter::enlarge(BufferId buffer, Bytes size) {
  Bytes& now = buffers_[static_cast<std::size_t>(buffer)].size;
  now = std::max(now, size);
}

template <typename Accesses>
void Emitter::append(const Moment& moment, Operation operation, const Accesses& accesses) {
  operation.first_access = static_cast<std::uint32_t>(accesses_.size());
  operation.access_count = static_cast<std::uint32_t>(accesses.size());
  accesses_.insert(accesses_.end(), accesses.begin(), accesses.end());
  places_.push_back({.order = std::int64_t{moment.point} * 3 + moment.phase,
                     .deadline = moment.deadline,
                     .index = static_cast<std::int32_t>(operations_.size())});
  operations_.push_back(operation);
}

void Emitter::emit(const Moment& moment, Operation operation,
                   std::initializer_list<Access> accesses) {
  append(moment, operation, accesses);
}

void Emitter::emit(const Moment& moment, Operation operation, const std::vector<Access>& accesses) {
  append(moment, operation, accesses);
}

void Emitter::move(const Moment& moment, Operation operation, const Access& from,
                   const Access& to) {
  SLUICE_CHECK(from.size == to.size);
  operation.kind = OperationKind::kMove;
  operation.lane = lane_between((*this)[from.buffer].tier, (*this)[to.buffer].tier);
  emit(moment, operation, {from, to});
}

Program Emitter::finish() {
  std::sort(places_.begin(), places_.end());
  Program program;
  program.operations.reserve(places_.size());
  program.lane_position.reserve(places_.size());
  for (const Place& place : places_) {
    const Operation& operation = operations_[static_cast<std::size_t>(place.index)];
    program.operations.push_back(operation);
    program.lane_position.push_back(program.lane_size[index_of(operation.lane)]++);
  }
  program.accesses = std::move(accesses_);
  program.buffers = std::move(buffers_);
  places_.clear();
  operations_.clear();
  return program;
}

Lane lane_between(Tier from, Tier to) {
  if (from == Tier::kHost && to == Tier::kDevice) return Lane::kHostToDevice;
  if (from == Tier::kDevice && to == Tier::kHost) return Lane::kDeviceToHost;
  if (from == Tier::kStorage && to == Tier::kHost) return Lane::kStorageRead;
  SLUICE_CHECK(from == Tier::kHost && to == Tier::kStorage);
  return Lane::kStorageWrite;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/program.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "offload/operands.h"

namespace sluice {

std::string_view name_of(Tier tier) {
  constexpr std::array<std::string_view, kTierCount> kNames = {"device", "host", "storage"};
  return kNames[index_of(tier)];
}

std::string_view name_of(Role role) {
  constexpr std::array<std::string_view, kRoleCount> kNames = {"weights", "gradients", "optimizer",
                                                               "activations", "workspace"};
  return kNames[index_of(role)];
}

std::string_view name_of(Lane lane) {
  constexpr std::array<std::string_view, kLaneCount> kNames = {
      "compute",      "host_to_device", "device_to_host",
      "host_compute", "storage_read",   "storage_write",
      "save"};
  return kNames[index_of(lane)];
}

SegmentLayout segment_layout(std::int64_t elements, DType moments) {
  constexpr std::int64_t kStep = 4096;  // a page
  // One page beyond each array, and two where that would be a power of two.
  const auto stagger = [](std::int64_t bytes) {
    const std::int64_t distance = round_up(bytes, kStep) + kStep;
    return (distance & (distance - 1)) == 0 ? distance + kStep : distance;
  };
  const std::int64_t master = stagger(4 * elements);
  const std::int64_t moment = stagger(size_of(moments) * elements);
  return {.first_moment = {master},
          .second_moment = {master + moment},
          .size = {master + moment + round_up(size_of(moments) * elements, kStep)}};
}

std::int64_t norm_chunks_of(const FlatParameter& flat) {
  std::int64_t chunks = 0;
  for (const TensorSpec& tensor : flat.tensors) chunks += norm_chunks(tensor.count);
  return chunks;
}

namespace {

std::string_view verb_of(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kPrepare:
      return "prepare batch";
    case OperationKind::kBegin:
      return "begin";
    case OperationKind::kForward:
      return "forward";
    case OperationKind::kRecompute:
      return "recompute";
    case OperationKind::kBackward:
      return "backward";
    case OperationKind::kMerge:
      return "add gradients";
    case OperationKind::kRound:
      return "round gradients";
    case OperationKind::kNorm:
      return "norm";
    case OperationKind::kUpdate:
      return "update";
    case OperationKind::kReport:
      return "report";
    case OperationKind::kReportDigest:
      return "report digest";
    case OperationKind::kSave:
      return "save";
    case OperationKind::kMove:
      break;
  }
  switch (operation.lane) {
    case Lane::kHostToDevice:
      return "fetch";
    case Lane::kDeviceToHost:
      return "drain";
    case Lane::kStorageRead:
      return "read";
    case Lane::kStorageWrite:
      return "write";
    default:
      return "move";
  }
}

}  // namespace

std::string label_of(const Workload& workload, const Operation& operation) {
  std::string label{verb_of(operation)};
  if (operation.kind == OperationKind::kMove) label += fmt::format(" {}", name_of(operation.role));
  if (operation.layer >= 0) {
    label += " " + workload.layers[static_cast<std::size_t>(operation.layer)].name;
  } else if (operation.flat >= 0) {
    label += " " + workload.flats[static_cast<std::size_t>(operation.flat)].name;
  }
  if (operation.micro_batch >= 0) label += fmt::format(" micro-batch {}", operation.micro_batch);
  if (operation.segment >= 0) label += fmt::format(" segment {}", operation.segment);
  if (operation.piece > 0) label += fmt::format(" piece {}", operation.piece);
  return label;
}

std::uint64_t hash_of(const Program& program) {
  std::vector<std::int64_t> words;
  const auto add = [&words](auto value) { words.push_back(static_cast<std::int64_t>(value)); };
  for (const Operation& operation : program.operations) {
    add(operation.kind);
    add(operation.lane);
    add(operation.stage);
    add(operation.accumulate);
    add(operation.for_save);
    add(operation.layer);
    add(operation.flat);
    add(operation.micro_batch);
    add(operation.segment);
    add(operation.piece);
    for (const Access& access : program.accesses_of(operation)) {
      add(access.exists());
      if (!access.exists()) continue;
      const Buffer& buffer = program.buffers[static_cast<std::size_t>(access.buffer)];
      add(buffer.tier);
      add(buffer.offset.value + access.begin.value);
      add(access.size.value);
      add(access.reads);
      add(access.writes);
    }
  }
  return XXH3_64bits(words.data(), words.size() * sizeof(std::int64_t));
}

}  // namespace sluice

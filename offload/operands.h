// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The order of operands in Program::accesses for each kind of operation: the one
// thing that builder, check and execute must agree on.

#include <cstddef>
#include <cstdint>

#include "offload/program.h"

namespace sluice {

// kForward, kRecompute, kBackward: these, then one weight per LayerSpec::flats,
// then (backward) one accumulator per LayerSpec::flats.
struct LayerOperands {
  static constexpr std::size_t kBatch = 0, kInput = 1, kOutput = 2, kSaved = 3, kWorkspace = 4,
                               kOutputGradient = 5, kInputGradient = 6, kLoss = 7, kLogits = 8,
                               kWeights = 9;
};
// kMove, kBegin
struct MoveOperands {
  static constexpr std::size_t kFrom = 0, kTo = 1;
};
// kMerge
struct MergeOperands {
  static constexpr std::size_t kTotal = 0, kAddend = 1;
};
// kRound; kRounded is absent where the gradient leaves in fp32
struct RoundOperands {
  static constexpr std::size_t kAccumulator = 0, kRounded = 1, kPartials = 2;
};
// kNorm
struct NormOperands {
  static constexpr std::size_t kPartials = 0, kResult = 1;
};
// kUpdate
struct UpdateOperands {
  static constexpr std::size_t kState = 0, kGradient = 1, kWeight = 2, kNorm = 3, kDigest = 4;
};
// kPrepare
struct PrepareOperands {
  static constexpr std::size_t kBatch = 0, kLoss = 1;  // the loss is waited for, not looked at
};
// kReport
struct ReportOperands {
  static constexpr std::size_t kLosses = 0, kNorms = 1, kLogits = 2;
};
// kReportDigest
struct ReportDigestOperands {
  static constexpr std::size_t kDigests = 0;
};

// kSave: bytes of a segment's block, from `piece * FlatHomes::save_piece` on
struct SaveOperands {
  static constexpr std::size_t kState = 0;
};

// A step's batch: a header of one cache line, then ids and targets of each
// micro-batch, each a multiple of 64 bytes.
struct BatchLayout {
  std::int64_t micro_batches = 0, sequences = 0, length = 0;

  static constexpr std::int64_t kHeader = 64;  // float loss_scale, then unused
  std::int64_t tokens() const { return sequences * length; }
  std::int64_t row() const { return round_up(tokens() * 4, std::int64_t{64}); }
  Bytes ids(std::int64_t micro_batch) const { return {kHeader + micro_batch * 2 * row()}; }
  Bytes targets(std::int64_t micro_batch) const { return {ids(micro_batch).value + row()}; }
  Bytes size() const { return ids(micro_batches); }
};
inline BatchLayout batch_layout(const Workload& workload) {
  return {workload.micro_batches, workload.sequences, workload.length};
}

// Norm results of a step: the global one, then one per flat parameter.
inline Bytes norm_result_offset(int flat_or_global) {  // -1: global
  return {static_cast<std::int64_t>(sizeof(NormResult)) * (flat_or_global + 1)};
}

// Chunks of the squared norm of one flat parameter, tensor by tensor.
std::int64_t norm_chunks_of(const FlatParameter& flat);

}  // namespace sluice

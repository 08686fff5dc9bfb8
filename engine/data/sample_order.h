// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Where sample i of a run begins: a pure function of (seed, i), found at once
// for any i, so that a resumed run reads on where it stopped.
//
// An epoch cuts the tokens, from an offset of its own, into windows of length + 1
// tokens, of which the last is also the first of the next. Windows of an epoch
// are visited once each, in an order that a keyed permutation (a Feistel network
// of four rounds, walked along its cycle until it falls inside) gives.

#include <cstdint>

namespace sluice {

class SampleOrder {
 public:
  // Requires tokens > length >= 1.
  SampleOrder(std::int64_t tokens, std::int64_t length, std::uint64_t seed);

  std::int64_t samples_per_epoch() const { return count_; }

  // First token of sample `index` of the run, index >= 0; length + 1 tokens
  // from there lie within the data.
  std::int64_t start_of(std::int64_t index) const;

 private:
  std::int64_t length_;
  std::int64_t count_;    // windows of an epoch, the same in each
  std::int64_t offsets_;  // an epoch begins at one of 0 ... offsets_ - 1
  std::uint64_t seed_;
};

}  // namespace sluice

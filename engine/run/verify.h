// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The same bits in every placement: trains the user's own model for a few steps
// under many of them, and compares every step's digest and every tensor.

#include <string>
#include <vector>

#include "engine/config/load_config.h"

namespace sluice {

struct VerifyOptions {
  std::int64_t steps = 3;
  bool all = false;  // the full product
  // Runs every placement without one of its edges: a difference has to be found.
  bool drop_edge = false;
  std::vector<int> threads = {1, 2, 3, 4, 8};
  std::vector<std::string> io;  // "uring", "threads"; empty: those that work here
};

struct VerifyResult {
  std::int64_t placements = 0;
  std::string difference;  // empty: all digests equal
};

// Prints a row per placement with the bytes that each lane moved. Errors as train.
VerifyResult verify(const LoadedConfig& loaded, const VerifyOptions& options);

}  // namespace sluice

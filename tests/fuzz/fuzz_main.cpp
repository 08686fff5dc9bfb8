// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// One libFuzzer executable for all targets: the environment variable
// SLUICE_FUZZ_TARGET names the one to run.

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/fuzz_target.h"

namespace {

const sluice::FuzzTarget& chosen_target() {
  const char* name = std::getenv("SLUICE_FUZZ_TARGET");
  const auto& targets = sluice::fuzz_targets();
  const auto found = targets.find(name == nullptr ? "" : name);
  if (found != targets.end()) return found->second;
  std::fprintf(stderr, "set SLUICE_FUZZ_TARGET to one of:");
  for (const auto& [known, target] : targets) std::fprintf(stderr, " %s", known.c_str());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const sluice::FuzzTarget& target = chosen_target();
  sluice::fuzz_accepts(target, {reinterpret_cast<const char*>(data), size});
  return 0;
}

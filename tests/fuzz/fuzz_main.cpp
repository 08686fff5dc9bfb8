// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// One libFuzzer executable for all targets: the environment variable
// SLUICE_FUZZ_TARGET names the one to run.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/structure_mutator.h"

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

// libFuzzer's own, which change bytes.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// Every second time the structure, where the target reads what has one.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned int seed) {
  if (seed % 2 == 0) {
    const auto made =
        sluice::mutated_structure({reinterpret_cast<const char*>(data), size}, seed / 2);
    if (made && made->size() <= most) {
      std::ranges::copy(*made, data);
      return made->size();
    }
  }
  return LLVMFuzzerMutate(data, size, most);
}

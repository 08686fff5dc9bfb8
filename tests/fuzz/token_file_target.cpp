// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <array>

#include "engine/data/token_source.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/memory_file.h"

namespace sluice {

SLUICE_FUZZ_TARGET(token_file) {
  const MemoryFile memory(bytes);
  const TokenSource source({{memory.path()}, TokenFormat::kBin}, /*vocabulary=*/50257);
  std::array<std::int32_t, 16> tokens{};
  const auto some = std::span(tokens).first(
      static_cast<std::size_t>(std::min<std::int64_t>(source.size(), std::ssize(tokens))));
  source.read(source.size() - std::ssize(some), some);
}

}  // namespace sluice

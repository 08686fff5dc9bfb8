// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/read_text.h"

#include <array>
#include <cstddef>

namespace sluice {

std::string read_text(std::istream& in, const std::string& name, ErrorKind kind) {
  constexpr std::size_t kMost = 16 << 20;
  std::string text;
  std::array<char, 4096> block;
  while (in.read(block.data(), std::ssize(block)) || in.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMost) throw Error(kind, name + ": larger than 16 MiB");
  }
  return text;
}

}  // namespace sluice

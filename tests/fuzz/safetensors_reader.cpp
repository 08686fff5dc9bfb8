// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// What our reader makes of files from standard input, each behind its length (64 bits, little
// endian): a line `-` and the reason where it is refused; else `+`, then for each tensor by name
// its type, shape and bytes in hexadecimal as JSON. For safetensors_differential.py.

#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/base/error.h"
#include "engine/files/safetensors.h"
#include "tests/fuzz/memory_file.h"

namespace sluice {
namespace {

std::string outcome_of(const std::string& bytes) {
  const MemoryFile memory(bytes);
  nlohmann::json tensors = nlohmann::json::object();
  try {
    const InputFile file(memory.path());
    std::vector<std::byte> data;
    for (const StoredTensor& tensor : read_safetensors_header(file)) {
      data.resize(count(tensor.size));
      read_safetensors_bytes(file, tensor, 0, data);
      std::string hex;
      for (const std::byte byte : data) hex += fmt::format("{:02x}", static_cast<unsigned>(byte));
      tensors[tensor.name] = {tensor.dtype, tensor.shape, hex};
    }
  } catch (const Error& error) {
    return std::string("-") + error.what();
  }
  return "+" + tensors.dump();
}

}  // namespace
}  // namespace sluice

int main() {
  std::uint64_t length = 0;
  std::string bytes;
  while (std::cin.read(reinterpret_cast<char*>(&length), sizeof(length))) {
    bytes.resize(length);
    if (!std::cin.read(bytes.data(), static_cast<std::streamsize>(length))) return 1;
    std::puts(sluice::outcome_of(bytes).c_str());
  }
  std::fflush(stdout);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <array>
#include <cstring>
#include <vector>

#include "engine/files/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/memory_file.h"

namespace sluice {
namespace {

// The tensors that are accepted are as safetensors.h promises: of the size of their shape, end
// to end from the header to the end of the file.
void check_tensors(std::string_view bytes, const std::vector<StoredTensor>& tensors) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  auto at = static_cast<std::int64_t>(sizeof(length) + length);
  for (const StoredTensor& tensor : tensors) {
    auto size = static_cast<double>(stored_width(tensor.dtype));  // cannot overflow
    for (const std::int64_t extent : tensor.shape) size *= static_cast<double>(extent);
    SLUICE_CHECK(size == static_cast<double>(tensor.size.value));
    SLUICE_CHECK(tensor.offset == at);
    at += tensor.size.value;
  }
  SLUICE_CHECK(at == static_cast<std::int64_t>(bytes.size()));
}

void read_all(std::string_view bytes) {
  const MemoryFile memory(bytes);
  const InputFile file(memory.path());
  const std::vector<StoredTensor> tensors = read_safetensors_header(file);
  check_tensors(bytes, tensors);
  for (const StoredTensor& tensor : tensors) {
    std::array<float, 64> values{};
    const std::int64_t count = tensor.size.value / stored_width(tensor.dtype);
    const auto some = std::span(values).first(
        static_cast<std::size_t>(std::min<std::int64_t>(count, std::ssize(values))));
    read_safetensors_floats(file, tensor, count - std::ssize(some), some);
  }
}

}  // namespace

// As they are; and as a header alone, with the length before it and data behind it that
// a mutation would seldom keep in step.
SLUICE_FUZZ_TARGET(safetensors) {
  const std::uint64_t length = bytes.size();
  std::string framed(sizeof(length), '\0');
  std::memcpy(framed.data(), &length, sizeof(length));
  framed.append(bytes);
  framed.append(16, '\x3c');
  fuzz_accepts(read_all, framed);
  read_all(bytes);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/error.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace sluice {

std::string one_line(std::string text) {
  constexpr std::size_t kHead = 380;                   // says what and where
  constexpr std::size_t kTail = kLongestLine - kHead;  // and what to do
  if (text.size() > kLongestLine) {
    const auto inside = [&](std::size_t at) { return (text[at] & 0xC0) == 0x80; };  // a character
    std::size_t head = kHead;
    std::size_t tail = text.size() - kTail;
    while (head > 0 && inside(head)) --head;
    while (tail < text.size() && inside(tail)) ++tail;
    text.replace(head, tail - head, " [...] ");
  }
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

Error::Error(ErrorKind kind, const std::string& what)
    : std::runtime_error(one_line(what)), kind_(kind) {}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInternal:
      return 1;
    case ErrorKind::kConfig:
      return 2;
    case ErrorKind::kNoFit:
      return 3;
    case ErrorKind::kData:
      return 4;
    case ErrorKind::kNonFinite:
      return 5;
    case ErrorKind::kIo:
      return 6;
  }
  return 1;
}

std::string with_errno(const std::string& what, int error_number) {
  return what + ": " + std::generic_category().message(error_number);
}

// Straight to stderr: a broken promise is no time to trust locks or buffers.
void contract_broken(const char* condition, Where where) {
  std::fprintf(stderr, "sluice: bug at %s:%d: %s does not hold\n", where.file, where.line,
               condition);
  std::fflush(stderr);
  std::abort();
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One exception type for everything the outside world can do to us, and one
// macro for everything we can do to ourselves.

#include <cstddef>
#include <stdexcept>
#include <string>

namespace sluice {

// Stands in for std::source_location, which clang 14 (our clang-tidy) lacks.
struct Where {
  const char* file;
  int line;

  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Each kind is one documented exit code (exit_code below).
enum class ErrorKind {
  kInternal,   // 1: a device or library failed in a way nobody can mend by typing
  kConfig,     // 2: config, usage, a path in use
  kNoFit,      // 3: a limit, the RAM or the disk is too small
  kData,       // 4: data or model file missing, short, corrupt
  kNonFinite,  // 5: loss, gradient or weight is not a finite number
  kIo,         // 6: I/O or checkpoint failure
};

// A message may quote anything: control characters, which make new lines and steer terminals,
// become question marks, and of what is longer than a person reads the middle is left out.
std::string one_line(std::string text);
inline constexpr std::size_t kLongestLine = 540;  // bytes that are left as they are

class Error : public std::runtime_error {
 public:
  // `what` is one_line for the user: what, where, the limit, what to type next.
  Error(ErrorKind kind, const std::string& what);

  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

// The process exit code that stands for `kind` (interface: 1 to 6).
int exit_code(ErrorKind kind);

// "what: strerror(errno)", for messages about system calls.
std::string with_errno(const std::string& what, int error_number);

// Logs the broken promise and aborts. Used only through SLUICE_CHECK.
[[noreturn]] void contract_broken(const char* condition, Where where = Where::here());

}  // namespace sluice

// Caller's promise, checked in every build. A false condition is a bug here.
#define SLUICE_CHECK(condition) ((condition) ? void(0) : ::sluice::contract_broken(#condition))

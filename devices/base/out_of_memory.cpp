// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/out_of_memory.h"

#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

namespace sluice {
namespace {

[[noreturn]] void on_terminate() {
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::bad_alloc&) {
    constexpr std::string_view kLine =
        "sluice: out of memory; lower limits.device and limits.host (exit 3: does not fit)\n";
    static_cast<void>(!::write(STDERR_FILENO, kLine.data(), kLine.size()));
    _exit(3);
  } catch (...) {
    // A bug: the core shows where.
  }
  std::abort();
}

}  // namespace

void exit_where_memory_is_refused() { std::set_terminate(on_terminate); }

}  // namespace sluice

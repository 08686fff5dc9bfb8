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

thread_local bool refused = false;  // something this thread asked for, some time

[[noreturn]] void on_refusal() {
  refused = true;
  throw std::bad_alloc();
}

[[noreturn]] void say_and_exit() {
  constexpr std::string_view kLine =
      "sluice: out of memory; lower limits.device and limits.host (exit 3: does not fit)\n";
  static_cast<void>(!::write(STDERR_FILENO, kLine.data(), kLine.size()));
  _exit(3);
}

[[noreturn]] void on_terminate() {
  // Where a function that may not throw was inlined, g++ calls terminate before the exception
  // counts as caught: nobody can ask what is on its way (std::filesystem::directory_iterator).
  if (refused && std::uncaught_exceptions() > 0) say_and_exit();
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::bad_alloc&) {
    say_and_exit();
  } catch (...) {
    // A bug: the core shows where.
  }
  std::abort();
}

}  // namespace

void exit_where_memory_is_refused() {
  std::set_new_handler(on_refusal);
  std::set_terminate(on_terminate);
}

}  // namespace sluice

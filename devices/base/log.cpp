// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/log.h"

#include <unistd.h>

#include <cstdio>
#include <mutex>

namespace sluice {
namespace {

struct Log {
  std::mutex mutex;
  bool quiet = false;
  int file = -1;
};

// Never destroyed: threads may still talk while the process ends.
Log& the_log() {
  static Log* const log = new Log;
  return *log;
}

void write_line(int descriptor, std::string_view prefix, std::string_view line) {
  ::dprintf(descriptor, "%.*s%.*s\n", static_cast<int>(prefix.size()), prefix.data(),
            static_cast<int>(line.size()), line.data());
}

enum class Shown { kNever, kUnlessQuiet, kAlways };

void say(std::string_view prefix, std::string_view line, Shown shown) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (shown == Shown::kAlways || (shown == Shown::kUnlessQuiet && !log.quiet)) {
    write_line(STDERR_FILENO, prefix, line);
  }
  if (log.file >= 0) write_line(log.file, prefix, line);
}

}  // namespace

void log_info(std::string_view line) { say("", line, Shown::kUnlessQuiet); }

void log_to_file(std::string_view line) { say("", line, Shown::kNever); }

void log_warn(std::string_view line) { say("warning: ", line, Shown::kAlways); }

void set_quiet(bool quiet) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.quiet = quiet;
}

bool is_quiet() {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  return log.quiet;
}

void set_log_file(int descriptor) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.file = descriptor;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/log.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <mutex>

#include "devices/base/error.h"

namespace sluice {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { static_cast<void>(std::fclose(file)); }
};

struct Log {
  std::mutex mutex;
  bool quiet = false;
  std::unique_ptr<std::FILE, CloseFile> file;
};

// Never destroyed: threads may still talk while the process ends.
Log& the_log() {
  static Log* const log = new Log;
  return *log;
}

void write_line(std::FILE* file, std::string_view prefix, std::string_view line) {
  std::fprintf(file, "%.*s%.*s\n", static_cast<int>(prefix.size()), prefix.data(),
               static_cast<int>(line.size()), line.data());
  std::fflush(file);
}

enum class Shown { kNever, kUnlessQuiet, kAlways };

void say(std::string_view prefix, std::string_view line, Shown shown) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  if (shown == Shown::kAlways || (shown == Shown::kUnlessQuiet && !log.quiet)) {
    write_line(stderr, prefix, line);
  }
  if (log.file) write_line(log.file.get(), prefix, line);
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

void set_log_file(const std::filesystem::path& path) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  log.file.reset();
  if (path.empty()) return;
  log.file.reset(std::fopen(path.c_str(), "ae"));
  if (!log.file) {
    throw Error(ErrorKind::kIo,
                with_errno(fmt::format("cannot open log file {}", path.string()), errno));
  }
}

}  // namespace sluice

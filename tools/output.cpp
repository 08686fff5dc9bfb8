// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tools/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "devices/base/error.h"
#include "engine/files/output_file.h"

namespace sluice {
namespace {

// A write that failed sooner may have left no errno.
[[noreturn]] void lost_results(int error) {
  const std::string what = "standard output cannot be written";
  throw Error(ErrorKind::kIo, (error == 0 ? what : with_errno(what, error)) +
                                  "; lead it to a file with room, or to a reader that stays");
}

[[noreturn]] void refuse_output(const std::string& path, int error) {
  throw Error(ErrorKind::kIo, with_errno(path + ": cannot be written", error) +
                                  "; name a file in a folder where you may write, or -");
}

// Writing nothing fails on /dev/full, and on what was not opened for writing.
void require_writable_device(const std::string& path) {
  const bool standard = path == "-";
  const int device = standard ? STDOUT_FILENO : ::open(path.c_str(), O_WRONLY | O_NOCTTY);
  const bool writable = device >= 0 && (::write(device, "", 0) == 0 || errno == EPIPE);
  const int error = errno;
  if (device >= 0 && !standard) ::close(device);
  if (writable) return;
  if (standard) lost_results(error);
  refuse_output(path, error);
}

}  // namespace

void write_output(const std::string& path, std::string_view text) {
  if (path == "-") {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && errno != EPIPE) {
      lost_results(errno);
    }
    flush_results();
    return;
  }
  // Renaming a new file over /dev/stdout would take the device away.
  std::error_code status;
  const auto kind = std::filesystem::status(path, status).type();
  const bool replaceable =
      kind == std::filesystem::file_type::not_found || kind == std::filesystem::file_type::regular;
  if (replaceable) {
    require_writable(path);
    replace_file(path, text);
  } else {
    std::ofstream device(path, std::ios::app);
    if (!(device << text << std::flush)) {
      refuse_output(path, errno);
    }
  }
}

void require_writable(const std::string& path) {
  if (path.empty()) return;
  if (path == "-") return require_writable_device(path);
  std::error_code status;
  const auto kind = std::filesystem::status(path, status).type();
  if (kind == std::filesystem::file_type::directory) {
    throw Error(ErrorKind::kIo, fmt::format("{}: is a folder, give the name of a file", path));
  }
  if (kind == std::filesystem::file_type::character) return require_writable_device(path);
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  if (::access(folder.c_str(), W_OK | X_OK) != 0) refuse_output(path, errno);
  struct stat unused {};
  if (::lstat(partial_of(path).c_str(), &unused) != 0 && errno != ENOENT) {
    refuse_output(path, errno);  // a name that is too long
  }
}

void flush_results() {
  errno = 0;
  std::cout.flush();
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) && errno != EPIPE) {
    lost_results(errno);
  }
}

void outlive_limits() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace sluice

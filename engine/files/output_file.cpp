// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "devices/base/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* what) {
  throw Error(ErrorKind::kIo, with_errno(path.string() + ": " + what, errno));
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "cannot be put in place");
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, Mode mode)
    : path_(path),
      descriptor_(::open(
          path.c_str(),
          O_WRONLY | O_CREAT | O_CLOEXEC | (mode == Mode::kAppend ? O_APPEND : O_TRUNC), 0644)) {
  if (descriptor_ < 0) fail(path_, "cannot be written");
}

OutputFile::~OutputFile() { ::close(descriptor_); }

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(path_, "cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void OutputFile::sync() {
  if (::fsync(descriptor_) != 0) fail(path_, "cannot be synced");
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(folder, "cannot be opened");
  const int status = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  // Some network file systems cannot sync a folder, and say so with EINVAL.
  if (status != 0 && error != EINVAL) fail(folder, "cannot be synced");
}

void replace_file(const fs::path& path, std::string_view text) {
  const fs::path partial = parent_of(path) / ("." + path.filename().string() + ".partial");
  try {
    OutputFile out(partial);
    out.write(text);
    out.sync();
    rename_or_fail(partial, path);
  } catch (...) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw;
  }
  sync_folder(parent_of(path));
}

void replace_folder(const fs::path& from, const fs::path& to) {
  const fs::path parent = parent_of(to);
  const fs::path old = parent / ("." + to.filename().string() + ".old");
  std::error_code ignored;
  fs::remove_all(old, ignored);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    rename_or_fail(from, old);  // `from` is the older one now
  } else {
    // Nothing there yet, or a file system without exchange: then, for a moment,
    // the older one has only its other name.
    if (fs::exists(to)) rename_or_fail(to, old);
    rename_or_fail(from, to);
  }
  sync_folder(parent);
  fs::remove_all(old, ignored);
}

}  // namespace sluice

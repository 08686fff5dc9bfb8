// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/file_calls.h"
#include "devices/storage/file_system.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// What a full disk lacks: room, or names for files. Empty where it does not say.
std::string what_is_free(const fs::path& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) return {};
  if (status.f_files > 0 && status.f_favail == 0) {
    return fmt::format("; all {} inodes there are in use, remove files", status.f_files);
  }
  return fmt::format("; {} are free there, make room", format_bytes(free_space(folder)));
}

bool is_full(int error) { return error == ENOSPC || error == EDQUOT; }

[[noreturn]] void fail(const fs::path& path, const char* what) {
  const bool full = is_full(errno);
  std::string message = with_errno(path.string() + ": " + what, errno);
  if (full) message += what_is_free(parent_of(path));
  throw Error(ErrorKind::kIo, message);
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (rename_path(from, to) != 0) fail(to, "cannot be put in place");
}

}  // namespace

OutputFile::OutputFile(const fs::path& path, Mode mode)
    : path_(path), descriptor_(open_for_writing(path, mode == Mode::kAppend ? O_APPEND : O_TRUNC)) {
  if (descriptor_ >= 0) return;
  const bool elsewhere = errno == ELOOP || errno == ENXIO;
  fail(path_, elsewhere ? "is a link or no regular file, and not written: move it away"
                        : "cannot be written");
}

OutputFile::~OutputFile() { ::close(descriptor_); }

template <typename Write>
void OutputFile::write_all(std::span<const std::byte> bytes, Write write) {
  while (!bytes.empty()) {
    const std::int64_t done = write(bytes);
    if (done == 0) errno = ENOSPC;  // a disk that takes nothing and does not say why
    if (done <= 0) fail(path_, "cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  write_all(bytes, [this](auto rest) { return write_some(descriptor_, path_, rest); });
}

void OutputFile::write_at(Bytes offset, std::span<const std::byte> bytes) {
  const Bytes end = offset + Bytes{static_cast<std::int64_t>(bytes.size())};
  write_all(bytes, [&](auto rest) {
    return write_some_at(descriptor_, path_, rest,
                         end - Bytes{static_cast<std::int64_t>(rest.size())});
  });
  // To the drive in the background from now on: the sync at the end is then short, and
  // memory does not fill with what waits for it.
  ::sync_file_range(descriptor_, offset.value, (end - offset).value, SYNC_FILE_RANGE_WRITE);
}

void OutputFile::reserve(Bytes size) {
  if (reserve_room(descriptor_, path_, size) != 0) fail(path_, "gets no room");
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

std::string_view OutputFile::write_what_fits(std::string_view text) {
  while (!text.empty()) {
    const std::int64_t done =
        write_some(descriptor_, path_, std::as_bytes(std::span(text.data(), text.size())));
    if (done == 0 || (done < 0 && is_full(errno))) break;
    if (done < 0) fail(path_, "cannot be written");
    text.remove_prefix(static_cast<std::size_t>(done));
  }
  return text;
}

void OutputFile::sync() {
  if (sync_file(descriptor_, path_) != 0) fail(path_, "cannot be synced");
}

void sync_folder(const fs::path& folder) {
  if (sync_names(folder) != 0) fail(folder, "cannot be synced");
}

void new_folder(const fs::path& path) {
  if (make_folder(path) != 0) fail(path, "cannot be made");
}

void remove_path(const fs::path& path) {
  if (remove_tree(path) != 0) fail(path, "cannot be removed");
}

fs::path partial_of(const fs::path& path) {
  return parent_of(path) / ("." + path.filename().string() + ".partial");
}

void replace_file(const fs::path& path, std::string_view text) {
  const fs::path partial = partial_of(path);
  try {
    OutputFile out(partial);
    out.write(text);
    out.sync();
    rename_or_fail(partial, path);
  } catch (...) {
    remove_tree(partial);
    throw;
  }
  sync_folder(parent_of(path));
}

void put_in_place(const fs::path& from, const fs::path& to) {
  rename_or_fail(from, to);
  sync_folder(parent_of(to));
}

void replace_folder(const fs::path& from, const fs::path& to) {
  const fs::path parent = parent_of(to);
  const fs::path old = parent / ("." + to.filename().string() + ".old");
  remove_path(old);
  // Nothing there yet, or a file system without exchange: then, for a moment, the older one has
  // only its other name.
  const bool exchanged = exchange_paths(from, to) == 0;
  try {
    if (!exchanged && fs::exists(to)) rename_or_fail(to, old);
    if (!exchanged) rename_or_fail(from, to);
    sync_folder(parent);
  } catch (...) {
    // Back to how it was: nobody may find later what is told to have failed.
    if (exchanged) {
      exchange_paths(from, to);
    } else {
      rename_path(to, from);  // fails where `from` still is there
      rename_path(old, to);
    }
    throw;
  }
  remove_tree(exchanged ? from : old);
}

}  // namespace sluice

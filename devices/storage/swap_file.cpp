// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/swap_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/storage/file_system.h"
#include "devices/storage/retries.h"
#include "devices/storage/stale_swap.h"

namespace sluice {
namespace {

constexpr const char* kRemedy = "choose another folder with --limits.storage_path";

[[noreturn]] void io_error(const std::string& what, int error_number) {
  throw Error(ErrorKind::kIo, with_errno(what, error_number) + "; " + kRemedy);
}

void check_folder(const std::filesystem::path& folder) {
  std::error_code status;
  if (!std::filesystem::exists(folder, status)) {
    throw Error(ErrorKind::kIo, fmt::format("storage folder {} does not exist: create it, or {}",
                                            folder.string(), kRemedy));
  }
  if (!std::filesystem::is_directory(folder, status)) {
    throw Error(ErrorKind::kIo,
                fmt::format("storage path {} is not a folder: {}", folder.string(), kRemedy));
  }
  const FileSystem file_system = file_system_of(folder);
  if (file_system.kind == FileSystemKind::kMemory) {
    throw Error(ErrorKind::kIo, fmt::format("storage folder {} is on {}, which is RAM and not a "
                                            "drive: {}",
                                            folder.string(), file_system.name, kRemedy));
  }
  if (file_system.kind == FileSystemKind::kNetwork) {
    log_warn(
        fmt::format("storage folder {} is on {}, most likely over a network and slow: a local "
                    "NVMe drive is better (--limits.storage_path)",
                    folder.string(), file_system.name));
  }
}

}  // namespace

std::filesystem::path swap_file_name() { return "sluice-rank0.swap"; }

void remove_stale_swap_file(const std::filesystem::path& folder) noexcept {
  try {
    for (FoundSwapFile& file : find_swap_files(folder / swap_file_name())) remove_swap_file(file);
  } catch (const Error&) {
    // There is none.
  }
}

SwapFile::SwapFile(const std::filesystem::path& folder, Bytes size, bool direct)
    : path_(folder / swap_file_name()), size_(round_up(size, kAlignment)) {
  SLUICE_CHECK(size.value > 0);
  check_folder(folder);
  try {
    // A file that its last owner removed while we waited for it is nobody's.
    do {
      if (descriptor_ >= 0) close(descriptor_);
      open_file(direct);
      lock();
    } while (!same_file(descriptor_, path_));
    take_over();
    reserve(folder);
    if (!write_header()) {
      static_cast<void>(fcntl(descriptor_, F_SETFL, 0));
      direct_ = false;
      warn_of_page_cache();
      static_cast<void>(write_header());
    }
  } catch (...) {
    if (descriptor_ >= 0) close(descriptor_);
    throw;
  }
}

SwapFile::~SwapFile() {
  drop_name();  // before the lock goes, so that nobody's new file is hit
  close(descriptor_);
}

void SwapFile::drop_name() noexcept {
  if (!std::exchange(nameless_, true)) unlink(path_.c_str());
}

void SwapFile::open_file(bool direct) {
  const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
  direct_ = direct;
  descriptor_ = direct ? open(path_.c_str(), flags | O_DIRECT, 0600) : -1;
  if (descriptor_ < 0 && (!direct || errno == EINVAL)) {
    direct_ = false;
    descriptor_ = open(path_.c_str(), flags, 0600);
    if (descriptor_ >= 0) warn_of_page_cache();
  }
  if (descriptor_ < 0) io_error(fmt::format("cannot create {}", path_.string()), errno);
}

void SwapFile::warn_of_page_cache() const {
  log_warn(
      fmt::format("no direct I/O on {}: going through the page cache, which costs speed "
                  "and RAM (another file system: --limits.storage_path)",
                  path_.parent_path().string()));
}

void SwapFile::lock() {
  // `doctor` and `clean` hold it for a moment.
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
    if (errno != EWOULDBLOCK && errno != EINTR) {
      io_error(fmt::format("cannot lock {}", path_.string()), errno);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const std::optional<int> pid = lock_holder(descriptor_);
  throw Error(ErrorKind::kConfig,
              fmt::format("{} is in use by {}: wait for it to end, or {}", path_.string(),
                          pid ? fmt::format("running process {}", *pid) : "another running process",
                          kRemedy));
}

void SwapFile::take_over() {
  std::int64_t generation = 1;
  struct stat status {};
  if (fstat(descriptor_, &status) == 0 && (status.st_size > 0 || !S_ISREG(status.st_mode))) {
    if (!is_ours(descriptor_)) {
      throw Error(ErrorKind::kConfig,
                  fmt::format("{} was not written by sluice: move it away, or {}", path_.string(),
                              kRemedy));
    }
    log_info(fmt::format("taking over {} ({}) of a run that ended early", path_.string(),
                         format_bytes({status.st_size})));
    if (const auto old = read_swap_header(descriptor_)) generation = old->generation + 1;
    // Old contents are never trusted, and their blocks are not ours to count on.
    if (ftruncate(descriptor_, 0) != 0) {
      io_error(fmt::format("cannot truncate {}", path_.string()), errno);
    }
  }
  header_ = new_swap_header(generation);
}

// Some file systems take O_DIRECT when a file is opened and refuse it at the first transfer.
bool SwapFile::write_header() {
  struct alignas(SwapHeader::kSize) {
    std::array<std::byte, SwapHeader::kSize> bytes;
  } block;
  encode(header_, block.bytes);
  ssize_t written = 0;
  Retries retries;
  do {
    written = pwrite(descriptor_, block.bytes.data(), block.bytes.size(), 0);
  } while (written < 0 && retries.again(errno));
  if (written < 0 && errno == EINVAL && direct_) return false;
  if (written != static_cast<ssize_t>(block.bytes.size())) {
    const int error_number = written < 0 ? errno : ENOSPC;
    unlink(path_.c_str());
    io_error(fmt::format("cannot write {}", path_.string()), error_number);
  }
  return true;
}

void SwapFile::reserve(const std::filesystem::path& folder) {
  const Bytes whole = kData + size_;
  // Asked first: some file systems fill the disk before they find it too small.
  const Bytes free = free_space(folder);
  int error_number = whole > free ? ENOSPC : 0;
  if (error_number == 0) {
    do {
      error_number = fallocate(descriptor_, 0, 0, whole.value) == 0 ? 0 : errno;
    } while (error_number == EINTR);
    if (error_number == EOPNOTSUPP) error_number = posix_fallocate(descriptor_, 0, whole.value);
  }
  if (error_number == 0) return;
  unlink(path_.c_str());
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) {
    throw Error(
        ErrorKind::kNoFit,
        with_errno(fmt::format("{} needs {} and {} are free there; lower --limits.storage "
                               "or {}",
                               path_.string(), format_bytes(size_), format_bytes(free), kRemedy),
                   error_number));
  }
  io_error(fmt::format("cannot reserve {} for {}", format_bytes(size_), path_.string()),
           error_number);
}

void SwapFile::forget(Bytes offset, Bytes size) const noexcept {
  if (!direct_) {
    static_cast<void>(posix_fadvise(descriptor_, offset.value, size.value, POSIX_FADV_DONTNEED));
  }
}

void SwapFile::sync() const {
  if (fdatasync(descriptor_) != 0) io_error(fmt::format("cannot sync {}", path_.string()), errno);
}

}  // namespace sluice

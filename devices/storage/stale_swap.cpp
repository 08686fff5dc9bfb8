// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/stale_swap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "devices/base/error.h"
#include "devices/base/format.h"

namespace sluice {
namespace {

constexpr int kLevelsBelow = 2;

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path)
      // Without waiting: a fifo of this name has no writer to wait for.
      : number_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number() const { return number_; }

 private:
  int number_;
};

struct alignas(SwapHeader::kSize) HeaderBlock {
  std::array<std::byte, SwapHeader::kSize> bytes{};
};

// The first block, as far as the file goes; the rest is zeros.
HeaderBlock first_block(int descriptor) {
  HeaderBlock block;
  ssize_t got = 0;
  do {
    got = pread(descriptor, block.bytes.data(), block.bytes.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) block.bytes[0] = std::byte{1};  // nothing of ours that we could tell
  return block;
}

FoundSwapFile examine(const std::filesystem::path& path) {
  FoundSwapFile found{.path = path, .state = FoundSwapFile::State::kNoAccess};
  const Descriptor file(path);
  struct stat status {};
  if (file.number() < 0 || fstat(file.number(), &status) != 0) {
    found.why = std::strerror(errno);
    return found;
  }
  if (!S_ISREG(status.st_mode)) {
    found.state = FoundSwapFile::State::kNotOurs;
    return found;
  }
  found.on_disk = {static_cast<std::int64_t>(status.st_blocks) * 512};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  found.age =
      std::max(std::chrono::seconds{0}, std::chrono::duration_cast<std::chrono::seconds>(now) -
                                            std::chrono::seconds{status.st_mtime});
  // A run writes its header only once it has the lock.
  if (flock(file.number(), LOCK_SH | LOCK_NB) != 0) {
    found.state = FoundSwapFile::State::kInUse;
    found.holder = lock_holder(file.number());
    return found;
  }
  found.header = read_swap_header(file.number());
  found.state =
      is_ours(file.number()) ? FoundSwapFile::State::kStale : FoundSwapFile::State::kNotOurs;
  return found;
}

void search(const std::filesystem::path& folder, int levels,
            std::vector<std::filesystem::path>& found) {
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable)) {
    if (is_swap_file_name(entry.path().filename().string())) {
      found.push_back(entry.path());
    } else if (levels > 0 && !entry.is_symlink(unreadable) && entry.is_directory(unreadable)) {
      search(entry.path(), levels - 1, found);
    }
  }
}

}  // namespace

bool is_swap_file_name(const std::string& name) {
  constexpr std::string_view kBegin = "sluice-rank";
  constexpr std::string_view kEnd = ".swap";
  if (name.size() <= kBegin.size() + kEnd.size()) return false;
  if (name.rfind(kBegin, 0) != 0 || name.substr(name.size() - kEnd.size()) != kEnd) return false;
  return std::all_of(name.begin() + kBegin.size(), name.end() - kEnd.size(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<FoundSwapFile> find_swap_files(const std::filesystem::path& path) {
  std::error_code missing;
  const auto status = std::filesystem::symlink_status(path, missing);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorKind::kIo, fmt::format("{}: there is no such file or folder", path.string()));
  }
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::is_directory(path, missing)) {
    search(path, kLevelsBelow, paths);
  } else {
    paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  std::vector<FoundSwapFile> found;
  for (const std::filesystem::path& one : paths) {
    found.push_back(examine(one));
    if (!is_swap_file_name(one.filename().string())) {
      found.back().state = FoundSwapFile::State::kNotOurs;
    }
  }
  return found;
}

std::string describe(const FoundSwapFile& file) {
  const std::string what =
      fmt::format("{}: {}, {} old", file.path.string(), format_bytes(file.on_disk),
                  format_seconds(Seconds{static_cast<double>(file.age.count())}));
  switch (file.state) {
    case FoundSwapFile::State::kStale:
      if (!file.header) return what + ", of a process that ended before it wrote a whole header";
      return fmt::format("{}, of run {:016x} (process {}, generation {}), which is gone", what,
                         file.header->run_id, file.header->pid, file.header->generation);
    case FoundSwapFile::State::kInUse:
      return fmt::format("{}, in use by {}", what,
                         file.holder ? fmt::format("running process {}", *file.holder)
                                     : "another running process");
    case FoundSwapFile::State::kNotOurs:
      return fmt::format("{}: not a swap file of sluice", file.path.string());
    case FoundSwapFile::State::kNoAccess:
      break;
  }
  return fmt::format("{}: cannot be opened: {}", file.path.string(), file.why);
}

bool remove_swap_file(FoundSwapFile& file) {
  if (file.state != FoundSwapFile::State::kStale) return false;
  const Descriptor descriptor(file.path);
  // Held while it goes, so that no run takes it over in between.
  if (descriptor.number() < 0 || flock(descriptor.number(), LOCK_EX | LOCK_NB) != 0) {
    file.why = std::strerror(errno);
    return false;
  }
  if (!same_file(descriptor.number(), file.path) || !is_ours(descriptor.number())) {
    file.state = FoundSwapFile::State::kNotOurs;
    return false;
  }
  if (unlink(file.path.c_str()) == 0) return true;
  file.why = std::strerror(errno);
  return false;
}

// A line of /proc/locks: "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF".
std::optional<int> lock_holder(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return std::nullopt;
  const std::string file =
      fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, type, advisory, access, where;
    int pid = 0;
    words >> number >> type >> advisory >> access >> pid >> where;
    if (type == "FLOCK" && where == file && pid > 0) return pid;
  }
  return std::nullopt;
}

bool same_file(int descriptor, const std::filesystem::path& path) {
  struct stat mine {};
  struct stat named {};
  return fstat(descriptor, &mine) == 0 && lstat(path.c_str(), &named) == 0 &&
         mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

std::optional<SwapHeader> read_swap_header(int descriptor) {
  return decode_swap_header(first_block(descriptor).bytes);
}

bool is_ours(int descriptor) {
  const HeaderBlock block = first_block(descriptor);
  if (has_swap_magic(block.bytes)) return true;
  return std::all_of(block.bytes.begin(), block.bytes.end(),
                     [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace sluice

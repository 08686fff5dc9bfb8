// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/file_calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>

#include "devices/storage/retries.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
constexpr int kToRead = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int kToWrite = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;

std::atomic<FileFaults*> faults{nullptr};

FileFaults::Outcome outcome_of(FileCall call, const fs::path& path) {
  FileFaults* asked = faults.load(std::memory_order_acquire);
  return asked == nullptr ? FileFaults::Outcome{} : asked->before(call, path);
}

// Whether the call is not to be made; errno says why.
bool fails(FileCall call, const fs::path& path) {
  const int error = outcome_of(call, path).error;
  if (error != 0) errno = error;
  return error != 0;
}

// Makes a call until it was not interrupted, or too often; errno is the last one's.
template <typename Call>
std::int64_t repeated(Call call) {
  Retries retries;
  for (;;) {
    const std::int64_t result = call();
    if (result >= 0 || (errno != EINTR && errno != EAGAIN) || !retries.again(errno)) return result;
  }
}

// act(data, size) with as many of the bytes as a test lets pass.
template <typename Byte, typename Act>
std::int64_t move_part(FileCall call, const fs::path& path, std::span<Byte> bytes, Act act) {
  return repeated([&]() -> std::int64_t {
    const FileFaults::Outcome outcome = outcome_of(call, path);
    if (outcome.error != 0) {
      errno = outcome.error;
      return -1;
    }
    return act(bytes.data(), std::min(bytes.size(), outcome.most));
  });
}

}  // namespace

std::string_view name_of(FileCall call) {
  switch (call) {
    case FileCall::kOpen:
      return "open";
    case FileCall::kReserve:
      return "reserve";
    case FileCall::kWrite:
      return "write";
    case FileCall::kSync:
      return "sync";
    case FileCall::kSyncFolder:
      return "sync folder";
    case FileCall::kRename:
      return "rename";
    case FileCall::kRemove:
      return "remove";
    case FileCall::kMakeFolder:
      return "make folder";
    case FileCall::kOpenToRead:
      return "open to read";
    case FileCall::kRead:
      return "read";
    case FileCall::kList:
      return "list";
  }
  return {};
}

void set_file_faults(FileFaults* asked) { faults.store(asked, std::memory_order_release); }

int open_for_writing(const fs::path& path, int flags) {
  if (fails(FileCall::kOpen, path)) return -1;
  const int descriptor = ::open(path.c_str(), flags | kToWrite, 0640);
  struct stat status {};
  if (descriptor < 0 || (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode))) {
    return descriptor;
  }
  ::close(descriptor);
  errno = ENXIO;  // as open() has it of a FIFO that nobody reads
  return -1;
}

int open_for_reading(const fs::path& path) {
  return fails(FileCall::kOpenToRead, path) ? -1 : ::open(path.c_str(), kToRead);
}

int open_inside(const fs::path& folder, const std::string& name) {
  if (fails(FileCall::kOpenToRead, folder / name)) return -1;
  const int at = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) return -1;
  const int descriptor = ::openat(at, name.c_str(), kToRead | O_NOFOLLOW);
  const int error = errno;
  ::close(at);
  errno = error;
  return descriptor;
}

std::int64_t read_some_at(int descriptor, const fs::path& path, std::span<std::byte> into,
                          Bytes offset) {
  return move_part(FileCall::kRead, path, into, [&](std::byte* data, std::size_t size) {
    return ::pread(descriptor, data, size, offset.value);
  });
}

int reserve_room(int descriptor, const fs::path& path, Bytes size) {
  return static_cast<int>(repeated([&] {
    if (fails(FileCall::kReserve, path)) return -1;
    if (::fallocate(descriptor, 0, 0, size.value) == 0) return 0;
    return errno == EOPNOTSUPP ? ::ftruncate(descriptor, size.value) : -1;
  }));
}

std::int64_t write_some(int descriptor, const fs::path& path, std::span<const std::byte> bytes) {
  return move_part(FileCall::kWrite, path, bytes, [&](const std::byte* data, std::size_t size) {
    return ::write(descriptor, data, size);
  });
}

std::int64_t write_some_at(int descriptor, const fs::path& path, std::span<const std::byte> bytes,
                           Bytes offset) {
  return move_part(FileCall::kWrite, path, bytes, [&](const std::byte* data, std::size_t size) {
    return ::pwrite(descriptor, data, size, offset.value);
  });
}

int sync_file(int descriptor, const fs::path& path) {
  return fails(FileCall::kSync, path) ? -1 : ::fsync(descriptor);
}

int sync_names(const fs::path& folder) {
  if (fails(FileCall::kSyncFolder, folder)) return -1;
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  const int status = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return status != 0 && error != EINVAL ? -1 : 0;
}

int rename_path(const fs::path& from, const fs::path& to) {
  return fails(FileCall::kRename, to) ? -1 : ::rename(from.c_str(), to.c_str());
}

int exchange_paths(const fs::path& a, const fs::path& b) {
  if (fails(FileCall::kRename, b)) return -1;
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
}

int make_folder(const fs::path& path) {
  return fails(FileCall::kMakeFolder, path) ? -1 : ::mkdir(path.c_str(), 0777);
}

int list_names(const fs::path& folder, std::vector<std::string>& names) {
  if (fails(FileCall::kList, folder)) return -1;
  const auto close = [](DIR* open) { ::closedir(open); };
  const std::unique_ptr<DIR, decltype(close)> open(::opendir(folder.c_str()), close);
  if (open == nullptr) return -1;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) return errno == 0 ? 0 : -1;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

int remove_tree(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno == ENOENT ? 0 : -1;
  if (S_ISDIR(status.st_mode)) {
    std::vector<std::string> inside;  // listed first: removing beside reading may skip names
    if (list_names(path, inside) != 0) return -1;
    for (const std::string& name : inside) {
      if (remove_tree(path / name) != 0) return -1;
    }
  }
  return fails(FileCall::kRemove, path) ? -1 : ::remove(path.c_str());
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/file_calls.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kData, fmt::format("{}: {}", path.string(), what));
}

bool is_plain_name(const std::string& name) {
  const auto is_bad = [](char c) { return c == '/' || static_cast<unsigned char>(c) < 0x20; };
  return !name.empty() && name != "." && name != ".." && std::ranges::none_of(name, is_bad);
}

// The drive, or the process, and not the file, whatever it is.
bool is_failure_to_read(int error) {
  return error == EIO || error == ESTALE || error == EMFILE || error == ENFILE || error == ENOMEM;
}

fs::path checked(const fs::path& folder, const std::string& name) {
  if (is_plain_name(name)) return folder / name;
  refuse(folder, fmt::format("\"{}\" is no name of a file in this folder", printable(name)));
}

}  // namespace

InputFile::InputFile(const fs::path& path) : path_(path), descriptor_(open_for_reading(path)) {
  check_kind();
}

InputFile::InputFile(const fs::path& folder, const std::string& name)
    : path_(checked(folder, name)), descriptor_(open_inside(folder, name)) {
  if (descriptor_ < 0 && errno == ELOOP) {
    refuse(path_,
           "is a symbolic link, which is not followed here; where the files of a download cache "
           "are links, make a copy with cp -rL");
  }
  check_kind();
}

void InputFile::check_kind() {
  if (descriptor_ < 0 && is_failure_to_read(errno)) {
    throw Error(ErrorKind::kIo, with_errno(path_.string() + ": cannot be opened", errno));
  }
  if (descriptor_ < 0) refuse(path_, with_errno("no such file, or not readable", errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    size_ = status.st_size;
    return;
  }
  ::close(std::exchange(descriptor_, -1));
  refuse(path_, "is no regular file");
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)),
      direct_(other.direct_.load()) {}

void InputFile::read(std::int64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const std::int64_t got =
        direct_ ? read_direct(offset, into) : read_some_at(descriptor_, path_, into, {offset});
    if (got < 0) {
      throw Error(
          ErrorKind::kIo,
          with_errno(fmt::format("{}: cannot be read at byte {}", path_.string(), offset), errno));
    }
    if (got == 0) {
      refuse(path_, fmt::format("ends at byte {}: it was cut since it was opened", offset));
    }
    offset += got;
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

void InputFile::read_past_cache() {
  direct_ = ::fcntl(descriptor_, F_SETFL, O_DIRECT) == 0;
  if (!direct_) end_direct();
}

void InputFile::end_direct() const {
  direct_ = false;
  ::fcntl(descriptor_, F_SETFL, 0);
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);  // advice: nothing depends on it
}

// As read_some_at, through a block as direct I/O wants it. Where that is refused after all, or
// ends where no block does, the rest is read as ever.
std::int64_t InputFile::read_direct(std::int64_t offset, std::span<std::byte> into) const {
  constexpr std::int64_t kPage = 4096;
  alignas(kPage) std::array<std::byte, 64 * kPage> block;
  const std::int64_t begin = offset / kPage * kPage;
  const std::int64_t skip = offset - begin;
  const std::int64_t whole = round_up(skip + static_cast<std::int64_t>(into.size()), kPage);
  const std::int64_t got = read_some_at(
      descriptor_, path_,
      std::span(block).first(std::min(block.size(), static_cast<std::size_t>(whole))), {begin});
  if ((got < 0 && errno == EINVAL) || (got > 0 && got <= skip)) {
    end_direct();
    return read_some_at(descriptor_, path_, into, {offset});
  }
  if (got <= 0) return got;
  const auto wanted = std::min(into.size(), static_cast<std::size_t>(got - skip));
  std::memcpy(into.data(), block.data() + skip, wanted);
  return static_cast<std::int64_t>(wanted);
}

std::string InputFile::text(Bytes most) const {
  if (size_ > most.value) {
    refuse(path_, fmt::format("{} bytes are too many: at most {}", size_, most.value));
  }
  std::string text(static_cast<std::size_t>(size_), '\0');
  read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

bool has_entry(const fs::path& folder, const std::string& name) {
  struct stat status {};
  return ::lstat((folder / name).c_str(), &status) == 0;
}

}  // namespace sluice

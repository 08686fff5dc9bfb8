// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The system calls by which a run reads and changes files, in one place. Checkpoints, model
// folders, data and metrics go through them, so a test can count them and let each one fail,
// be cut short, or be the last that the process made. (The swap file has its own; see storage.h.)
//
// Each does what the call of its name does, and returns what it returns, with errno. Reads,
// writes and reservations that were interrupted are made again; a sync never is. Files are 0640
// less the umask.
// Threads  any.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/units.h"

namespace sluice {

enum class FileCall : std::uint8_t {
  kOpen,  // for writing
  kReserve,
  kWrite,
  kSync,
  kSyncFolder,
  kRename,
  kRemove,  // of a file or an empty folder
  kMakeFolder,
  kOpenToRead,  // this and those below change nothing
  kRead,
  kList,  // of a folder's names
};
std::string_view name_of(FileCall call);  // "open", "reserve", ...; empty behind the last
inline bool changes_files(FileCall call) { return call < FileCall::kOpenToRead; }

// What a test decides about a call that is about to be made.
class FileFaults {
 public:
  struct Outcome {
    int error = 0;                                               // of errno; 0: the call is made
    std::size_t most = std::numeric_limits<std::size_t>::max();  // bytes that are moved
  };
  virtual ~FileFaults() = default;
  virtual Outcome before(FileCall call, const std::filesystem::path& path) = 0;
};

// From now on `faults` is asked before every call; null: nobody is. For tests. Not while
// files are being read or written.
void set_file_faults(FileFaults* faults);

// A regular file, made where there is none. Never waits, and writes nowhere else: of a link
// errno is ELOOP, of a FIFO or a device ENXIO.
int open_for_writing(const std::filesystem::path& path, int flags);
// Never waits, as for somebody who writes to a FIFO.
int open_for_reading(const std::filesystem::path& path);
// `name`, one component and no link, in `folder`: what openat2 with RESOLVE_BENEATH |
// RESOLVE_NO_SYMLINKS promises, on every kernel.
int open_inside(const std::filesystem::path& folder, const std::string& name);
std::int64_t read_some_at(int descriptor, const std::filesystem::path& path,
                          std::span<std::byte> into, Bytes offset);
// Room on the disk for `size` bytes, so that a full one is known before anything is written.
// Where the file system cannot, the file is only made that long.
int reserve_room(int descriptor, const std::filesystem::path& path, Bytes size);
std::int64_t write_some(int descriptor, const std::filesystem::path& path,
                        std::span<const std::byte> bytes);
std::int64_t write_some_at(int descriptor, const std::filesystem::path& path,
                           std::span<const std::byte> bytes, Bytes offset);
int sync_file(int descriptor, const std::filesystem::path& path);
// Makes the names in a folder durable. 0 where a file system cannot, as some on networks.
int sync_names(const std::filesystem::path& folder);
int rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// Swaps two names. Fails with EINVAL or ENOSYS where the file system cannot.
int exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b);
int make_folder(const std::filesystem::path& path);
// What a folder holds, in no order, behind what is in `names`. (std::filesystem's iterators end
// the process where they get no memory.)
int list_names(const std::filesystem::path& folder, std::vector<std::string>& names);
// A file, a link, or a folder with all that is in it. 0 where there is none.
int remove_tree(const std::filesystem::path& path);

}  // namespace sluice

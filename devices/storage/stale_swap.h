// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Swap files as others find them: which there are, whose they are, and taking the stale
// ones away. Nobody but the process that holds one reads its data.

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "devices/base/units.h"
#include "devices/storage/swap_header.h"

namespace sluice {

struct FoundSwapFile {
  enum class State : std::uint8_t {
    kStale,     // ours, and no process holds it
    kInUse,     // locked
    kNotOurs,   // it has such a name and something else in it
    kNoAccess,  // it cannot be opened; see `why`
  };

  std::filesystem::path path;
  State state = State::kStale;
  Bytes on_disk = {};  // what removing it frees
  std::chrono::seconds age{};
  std::optional<SwapHeader> header;
  std::optional<int> holder;  // kInUse, where that process is visible from here
  std::string why;
};

// Whether `name` is one that a swap file of any rank has.
bool is_swap_file_name(const std::string& name);

// `path` itself, or those in the folder and two levels below it (runs/NAME), sorted by
// path. Links are not followed; folders that cannot be read are passed over.
// Errors: kIo where `path` is not there.
std::vector<FoundSwapFile> find_swap_files(const std::filesystem::path& path);

// One line: path, size, age, whose it is.
std::string describe(const FoundSwapFile& file);

// Removes `file` if it is stale still. False, and why in `file`, where it is not or cannot
// be removed.
bool remove_swap_file(FoundSwapFile& file);

// Who holds a flock on this open file, by /proc/locks. Nothing where the holder is not
// visible from here.
std::optional<int> lock_holder(int descriptor);

// Whether `path` still names the open file: its last owner may have removed it meanwhile.
bool same_file(int descriptor, const std::filesystem::path& path);

// The header of an open file, past the page cache or not. Nothing where there is none.
std::optional<SwapHeader> read_swap_header(int descriptor);

// Whether taking the file away loses nothing of anybody's: a header of ours, torn or whole, or
// nothing yet (a process killed before it wrote one).
bool is_ours(int descriptor);

}  // namespace sluice

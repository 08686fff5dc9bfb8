// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The checkpoints of a run: folders step-N below checkpoints/, each whole from the moment
// that it has its name. What is being written is step-N.tmp-...; what is being removed or
// replaced is .step-N.old.
//
// Threads  one process and one thread at a time: the owner of the run directory.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sluice {

std::string checkpoint_name(std::int64_t step);  // "step-120"

// The step of such a name; nothing for any other one.
std::optional<std::int64_t> step_of_name(const std::string& name);

struct FoundCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
};

// By name alone, newest first. Links and files are none.
std::vector<FoundCheckpoint> find_checkpoints(const std::filesystem::path& folder);

// What killed runs left. Errors: kIo.
void remove_leftovers(const std::filesystem::path& folder);

// Removes all but the newest `keep`, and never the last two, of those that are sound. `newest`
// has just been written; before an older one goes, all others that stay are read to their last
// byte, each time: a drive damages what was sound. Steps behind `newest` and those in `unsound`
// do not count and are not touched; what is found damaged joins them. Each vanishes at once: it
// loses its name before its files. `between` is called after each piece that was read.
// Returns what is wrong with one that was found damaged, or nothing. Errors: kIo.
std::string prune_checkpoints(const std::filesystem::path& folder, std::int64_t keep,
                              std::int64_t newest, std::set<std::int64_t>& unsound,
                              const std::function<void()>& between = {});

// Of a run directory's checkpoints/: the newest with a good manifest; for MODEL arguments.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& folder);

}  // namespace sluice

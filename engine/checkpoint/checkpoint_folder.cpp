// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/checkpoint/checkpoint_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "devices/base/error.h"
#include "devices/file_calls.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/files/output_file.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

// None where there is no folder. One that cannot be read is an error: a run that took it for
// empty would start afresh.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (list_names(folder, names) != 0 && errno != ENOENT && errno != ENOTDIR) {
    throw Error(ErrorKind::kIo,
                with_errno(folder.string() + ": cannot be listed; mend its permissions", errno));
  }
  return names;
}

bool looks_whole(const fs::path& checkpoint) {
  try {
    static_cast<void>(CheckpointReader(checkpoint));
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kIo) throw;
    return false;
  }
}

void remove_at_once(const fs::path& checkpoint) {
  const fs::path old = checkpoint.parent_path() / ("." + checkpoint.filename().string() + ".old");
  remove_path(old);
  if (rename_path(checkpoint, old) != 0) {
    throw Error(ErrorKind::kIo, with_errno(checkpoint.string() + ": cannot be removed", errno));
  }
  remove_path(old);
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{}", kPrefix, step); }

std::optional<std::int64_t> step_of_name(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  // Only the one way to write a number: "step-07" is not ours.
  if (error != std::errc() || stop != end || step < 0 || name != checkpoint_name(step)) {
    return std::nullopt;
  }
  return step;
}

std::vector<FoundCheckpoint> find_checkpoints(const fs::path& folder) {
  std::vector<FoundCheckpoint> found;
  for (const std::string& name : names_in(folder)) {
    const std::optional<std::int64_t> step = step_of_name(name);
    const fs::path path = folder / name;
    std::error_code gone;
    if (step && fs::symlink_status(path, gone).type() == fs::file_type::directory) {
      found.push_back({*step, path});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const FoundCheckpoint& a, const FoundCheckpoint& b) { return a.step > b.step; });
  return found;
}

void remove_leftovers(const fs::path& folder) {
  for (const std::string& name : names_in(folder)) {
    const std::size_t temporary = name.find(".tmp-");
    const bool unfinished =
        temporary != std::string::npos && step_of_name(name.substr(0, temporary)).has_value();
    const bool replaced = name.size() > 5 && name.front() == '.' && name.ends_with(".old") &&
                          step_of_name(name.substr(1, name.size() - 5)).has_value();
    if (unfinished || replaced) remove_path(folder / name);
  }
}

std::string prune_checkpoints(const fs::path& folder, std::int64_t keep, std::int64_t newest,
                              std::set<std::int64_t>& unsound,
                              const std::function<void()>& between) {
  std::vector<FoundCheckpoint> counted = find_checkpoints(folder);
  std::erase_if(counted, [&](const FoundCheckpoint& checkpoint) {
    return checkpoint.step > newest || unsound.count(checkpoint.step) > 0;
  });
  std::int64_t left = std::max<std::int64_t>(keep, 2);
  if (std::ssize(counted) <= left) return {};
  std::string damage;
  for (const FoundCheckpoint& checkpoint : counted) {
    if (left == 0) {
      remove_at_once(checkpoint.path);
      continue;
    }
    try {
      if (checkpoint.step != newest) CheckpointReader(checkpoint.path).verify_on_drive(between);
      --left;
    } catch (const Error& error) {
      unsound.insert(checkpoint.step);
      damage = error.what();
    }
  }
  return damage;
}

std::optional<fs::path> newest_checkpoint(const fs::path& folder) {
  for (const FoundCheckpoint& checkpoint : find_checkpoints(folder)) {
    if (looks_whole(checkpoint.path)) return checkpoint.path;
  }
  return std::nullopt;
}

}  // namespace sluice

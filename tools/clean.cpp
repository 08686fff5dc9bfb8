// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/storage/stale_swap.h"
#include "tools/commands.h"

namespace sluice {

int run_clean(const CleanOptions& options) {
  Bytes freed;
  int removed = 0;
  std::string failure;
  for (const std::filesystem::path& path : options.paths) {
    for (FoundSwapFile& file : find_swap_files(path)) {
      const bool goes =
          options.dry_run ? file.state == FoundSwapFile::State::kStale : remove_swap_file(file);
      if (goes) {
        fmt::print("{} {}\n", options.dry_run ? "would remove" : "removed", describe(file));
        freed += file.on_disk;
        ++removed;
        continue;
      }
      fmt::print("left {}\n", describe(file));
      if (!file.why.empty()) failure = fmt::format("{}: {}", file.path.string(), file.why);
    }
  }
  fmt::print("{} file{} {}, {} {}\n", removed, removed == 1 ? "" : "s",
             options.dry_run ? "to remove" : "removed", format_bytes(freed),
             options.dry_run ? "to free" : "freed");
  if (!failure.empty()) throw Error(ErrorKind::kIo, failure + "; not removed");
  return 0;
}

}  // namespace sluice

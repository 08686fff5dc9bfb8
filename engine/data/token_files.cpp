// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/data/token_files.h"

#include <fmt/core.h>
#include <glob.h>

#include <algorithm>

#include "devices/base/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) { return path.filename().string().rfind('.', 0) == 0; }

// Empty files add nothing, so a folder may hold some.
void add_folder(const fs::path& folder, std::vector<fs::path>& out) {
  std::vector<fs::path> found;
  try {
    const auto options = fs::directory_options::none;
    for (auto it = fs::recursive_directory_iterator(folder, options);
         it != fs::recursive_directory_iterator(); ++it) {
      if (is_hidden(it->path())) {
        if (it->is_directory()) it.disable_recursion_pending();
      } else if (it->is_regular_file() && it->file_size() > 0) {
        found.push_back(it->path());
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::kData,
                fmt::format("{}: cannot list: {}", folder.string(), error.code().message()));
  }
  std::sort(found.begin(), found.end());
  out.insert(out.end(), found.begin(), found.end());
}

void add_glob(const std::string& pattern, std::vector<fs::path>& out) {
  glob_t matches{};
  if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
    for (std::size_t i = 0; i < matches.gl_pathc; ++i) {
      const fs::path path = matches.gl_pathv[i];
      if (fs::is_directory(path)) {
        add_folder(path, out);
      } else {
        out.push_back(path);
      }
    }
  }
  ::globfree(&matches);
}

TokenFormat format_by_extension(const std::vector<fs::path>& paths) {
  const auto is_bin = [](const fs::path& path) { return path.extension() == ".bin"; };
  const auto first = std::find_if(paths.begin(), paths.end(), is_bin);
  const auto other = std::find_if_not(paths.begin(), paths.end(), is_bin);
  if (first != paths.end() && other != paths.end()) {
    throw Error(ErrorKind::kData,
                fmt::format("{} and {} are of two formats; set data.tokens to \"bytes\" or \"bin\"",
                            first->string(), other->string()));
  }
  return first != paths.end() ? TokenFormat::kBin : TokenFormat::kBytes;
}

}  // namespace

TokenFiles find_token_files(const std::vector<std::string>& entries,
                            std::optional<TokenFormat> format) {
  TokenFiles files;
  for (const std::string& entry : entries) {
    const std::size_t before = files.paths.size();
    std::error_code ignored;
    if (fs::is_directory(entry, ignored)) {
      add_folder(entry, files.paths);
      if (files.paths.size() == before) {
        throw Error(
            ErrorKind::kData,
            entry +
                ": no data in this folder, or only empty files; name another one in data.train");
      }
    } else if (fs::exists(entry, ignored)) {
      files.paths.emplace_back(entry);
    } else {
      add_glob(entry, files.paths);
      if (files.paths.size() == before) {
        throw Error(ErrorKind::kData,
                    entry + ": no such file or folder, and no match; see data.train and data.val");
      }
    }
  }
  files.format = format ? *format : format_by_extension(files.paths);
  return files;
}

void check_bytes_fit(std::int64_t vocabulary) {
  if (vocabulary >= 256) return;
  throw Error(
      ErrorKind::kData,
      fmt::format("model.vocab is {}, but a byte may be 255: set it to at least 256", vocabulary));
}

}  // namespace sluice

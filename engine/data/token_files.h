// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Which files a list of files, folders and globs means.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/run_config.h"

namespace sluice {

struct TokenFiles {
  std::vector<std::filesystem::path> paths;
  TokenFormat format = TokenFormat::kBytes;
};

// Files in the order of the list; a folder stands for all files below it, sorted
// by path, without hidden ones; a glob for its matches, sorted. Without a format
// it is kBin where every file ends in ".bin" and kBytes where none does.
// Errors   Error{kData}: an entry that matches nothing, or mixed formats.
TokenFiles find_token_files(const std::vector<std::string>& entries,
                            std::optional<TokenFormat> format);

// Error{kData} where a byte may be no token.
void check_bytes_fit(std::int64_t vocabulary);

}  // namespace sluice

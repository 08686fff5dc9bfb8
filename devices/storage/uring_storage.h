// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <memory>
#include <string>

#include "devices/storage.h"
#include "devices/storage/swap_file.h"

namespace sluice {

// Storage by io_uring, which takes `file` over. Where this machine or build has
// no io_uring: null, `file` untouched, and why in `refusal`.
std::unique_ptr<Storage> open_uring_storage(std::unique_ptr<SwapFile>& file,
                                            const StorageOptions& options, std::string& refusal);

}  // namespace sluice

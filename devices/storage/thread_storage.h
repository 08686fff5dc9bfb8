// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include <memory>

#include "devices/storage.h"
#include "devices/storage/swap_file.h"

namespace sluice {

// Storage by a pool of options.depth threads that pread and pwrite.
std::unique_ptr<Storage> open_thread_storage(std::unique_ptr<SwapFile> file,
                                             const StorageOptions& options);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Stands in for uring_storage.cpp where liburing is missing.

#include "devices/storage/uring_storage.h"

namespace sluice {

std::unique_ptr<Storage> open_uring_storage(std::unique_ptr<SwapFile>& /*file*/,
                                            const StorageOptions& /*options*/,
                                            std::string& refusal) {
  refusal = "built without liburing";
  return nullptr;
}

}  // namespace sluice

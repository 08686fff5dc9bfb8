// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/files/model_folder.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

SLUICE_FUZZ_TARGET(shard_index) { parse_shard_index(std::string(bytes), "index.json"); }

}  // namespace sluice

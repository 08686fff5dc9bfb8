// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Which home the rules of place.* give to a layer.

#include <cstdint>
#include <string>

#include "engine/config/run_config.h"

namespace sluice {

// A layer as rules name it: "embedding", "head", or a block by its number.
struct LayerName {
  enum class Kind : std::uint8_t { kEmbedding, kBlock, kHead };
  Kind kind = Kind::kBlock;
  std::int64_t block = 0;
};

// Whether `list` is a well-formed layer list: "0-3,7", "embedding,head", "*".
bool is_layer_list(const std::string& list);

// The last block that a layer list names; -1 where it names none, or all of them by "*".
std::int64_t last_block(const std::string& list);

// The home of the first rule that names the layer; kAuto where none does.
HomeChoice home_of(const PlaceRules& rules, LayerName layer);

}  // namespace sluice

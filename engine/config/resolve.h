// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What a config says between its lines: derived values, and keys that must fit
// each other. Used by load_config.cpp alone.

#include "engine/config/load_config.h"

namespace sluice {

// The lines of TOML that a preset stands for.
const char* preset_text(Preset preset);

// Fills in derived values and refuses contradictions, as Error{kConfig}.
void resolve(LoadedConfig& loaded);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

namespace sluice {

void refuse_toml() { throw toml::parse_error("cannot be read as TOML", toml::source_region{}); }

}  // namespace sluice

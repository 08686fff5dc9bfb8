// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// toml++ for text that a stranger may have written. It takes some of what it parses for
// granted: an assertion that ends the process, or, with NDEBUG, undefined behaviour. Here
// both are a parse error. Heavy to include: for sources alone.

namespace sluice {
[[noreturn]] void refuse_toml();
}  // namespace sluice

#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : ::sluice::refuse_toml())
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace sluice {

inline void refuse_toml() {
  throw toml::parse_error("cannot be read as TOML", toml::source_region{});
}

}  // namespace sluice

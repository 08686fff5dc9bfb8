// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Before every include of toml++, which takes some of what it parses for granted: an
// assertion that ends the process, or, with NDEBUG, undefined behaviour. With this both
// are a toml::parse_error, whoever wrote the text.

#include <string_view>

namespace sluice {
[[noreturn]] void refuse_toml();

// Before every toml::parse, and like it throws toml::parse_error: outside of strings and
// comments TOML is ASCII, and on some other characters there toml++ 3.3 has no defined
// behaviour.
void check_toml(std::string_view text);
}  // namespace sluice

#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : ::sluice::refuse_toml())

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A reader of files that strangers write, as a function of bytes. A file
// `NAME_target.cpp` in this folder defines one:
//
//     SLUICE_FUZZ_TARGET(NAME) { read(bytes); }
//
// and nothing lists it: libFuzzer (fuzz_main.cpp) and the test of the corpus
// (corpus_test.cpp) find it by its name. Whatever the bytes are, it returns, or
// throws Error: anything else is a finding.

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "devices/base/error.h"

namespace sluice {

using FuzzTarget = std::function<void(std::string_view bytes)>;

inline std::map<std::string, FuzzTarget>& fuzz_targets() {
  static std::map<std::string, FuzzTarget> targets;
  return targets;
}

struct FuzzRegistration {
  FuzzRegistration(const char* name, FuzzTarget target) {
    fuzz_targets()[name] = std::move(target);
  }
};

// Runs `target`; false where it refused the bytes. Its message must be one line, whatever
// they say.
inline bool fuzz_accepts(const FuzzTarget& target, std::string_view bytes) {
  try {
    target(bytes);
  } catch (const Error& error) {
    SLUICE_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return false;
  }
  return true;
}

}  // namespace sluice

#define SLUICE_FUZZ_TARGET(name)                                                   \
  static void fuzz_##name(std::string_view bytes);                                 \
  static const ::sluice::FuzzRegistration registration_##name(#name, fuzz_##name); \
  static void fuzz_##name([[maybe_unused]] std::string_view bytes)

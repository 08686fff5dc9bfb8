// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/out_of_memory.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <new>
#include <stdexcept>

namespace sluice {
namespace {

#if !defined(SLUICE_SANITIZE_address) && !defined(SLUICE_SANITIZE_thread)

void ask_for_too_much() noexcept {
  constexpr std::size_t kTooMuch = std::size_t{1} << 60;
  ::operator delete(::operator new(kTooMuch));
}

TEST(OutOfMemoryDeathTest, RefusedWhereNothingMayBeThrownTheProcessSaysSoAndExitsWith3) {
  EXPECT_EXIT(
      {
        exit_where_memory_is_refused();
        ask_for_too_much();
      },
      testing::ExitedWithCode(3), "^sluice: out of memory; lower limits");
}

#endif

TEST(OutOfMemoryDeathTest, AnotherExceptionThatNothingCatchesAbortsAsBefore) {
  const auto fail = [] { throw std::runtime_error("a bug"); };
  const auto fails_where_nothing_may = [&]() noexcept { fail(); };
  EXPECT_EXIT(
      {
        exit_where_memory_is_refused();
        fails_where_nothing_may();
      },
      testing::KilledBySignal(SIGABRT), "");
}

}  // namespace
}  // namespace sluice

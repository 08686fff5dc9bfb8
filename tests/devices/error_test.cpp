// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace sluice {
namespace {

TEST(Error, KindsAreTheDocumentedExitCodes) {
  EXPECT_EQ(exit_code(ErrorKind::kInternal), 1);
  EXPECT_EQ(exit_code(ErrorKind::kConfig), 2);
  EXPECT_EQ(exit_code(ErrorKind::kNoFit), 3);
  EXPECT_EQ(exit_code(ErrorKind::kData), 4);
  EXPECT_EQ(exit_code(ErrorKind::kNonFinite), 5);
  EXPECT_EQ(exit_code(ErrorKind::kIo), 6);
}

TEST(Error, SystemCallsSayWhy) {
  EXPECT_EQ(with_errno("cannot open x", ENOENT), "cannot open x: No such file or directory");
}

TEST(Error, AMessageIsALineThatAPersonReads) {
  EXPECT_EQ(one_line("a\nb\x1b[31m"), "a?b?[31m");
  const std::string what =
      Error(ErrorKind::kData, "x.toml: key is " + std::string(5'000'000, 'v') + "; give another")
          .what();
  EXPECT_LT(what.size(), 560U);
  EXPECT_EQ(what.find("x.toml: key is v"), 0U);
  EXPECT_TRUE(what.ends_with("v; give another"));
  // No character is cut in two: with any first byte, all that is left is whole.
  for (const std::size_t before : {0U, 1U}) {
    std::string text(before, 'v');
    for (int i = 0; i < 1000; ++i) text += "\u00fc";
    const std::string cut = one_line(text);
    EXPECT_EQ(std::ranges::count(cut, '\xc3'), std::ranges::count(cut, '\xbc'));
    EXPECT_NE(cut.find("\u00fc [...] \u00fc"), std::string::npos);
  }
}

TEST(ErrorDeathTest, BrokenPromiseNamesItselfAndItsPlace) {
  EXPECT_DEATH(SLUICE_CHECK(1 + 1 == 3), "error_test.cpp:.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace sluice

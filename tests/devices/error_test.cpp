// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

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

TEST(ErrorDeathTest, BrokenPromiseNamesItselfAndItsPlace) {
  EXPECT_DEATH(SLUICE_CHECK(1 + 1 == 3), "error_test.cpp:.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace sluice

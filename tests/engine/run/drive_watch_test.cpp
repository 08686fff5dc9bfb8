// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/drive_watch.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// Lines said over steps that move 1 MiB in so many milliseconds each.
int lines_over(const std::vector<double>& milliseconds) {
  DriveWatch watch("storage_read");
  int lines = 0;
  for (const double step : milliseconds) {
    if (watch.observe({1 << 20}, Seconds{1e-3 * step})) ++lines;
  }
  return lines;
}

TEST(DriveWatch, ThreeSlowStepsInARowAreSaidOnce) {
  EXPECT_EQ(lines_over({20, 20, 20, 99, 99, 99, 99, 99, 99}), 1);
  EXPECT_EQ(lines_over({20, 20, 20, 99, 99, 99, 20, 20, 99, 99, 99}), 1);
}

TEST(DriveWatch, OneHiccupOrASlowDriveFromTheStartIsNotWorthALine) {
  EXPECT_EQ(lines_over({20, 20, 20, 990, 20, 990, 990, 20, 20}), 0);
  EXPECT_EQ(lines_over({99, 99, 99, 99, 99, 99}), 0);
  EXPECT_EQ(lines_over({1, 1, 1, 9, 9, 9, 9}), 0);
  EXPECT_EQ(lines_over({20, 40, 60, 60, 40, 20, 60, 60, 60}), 0);
}

TEST(DriveWatch, NamesTheLaneAndBothPaces) {
  DriveWatch watch("storage_write");
  watch.observe({100 << 20}, Seconds{1});
  watch.observe({10 << 20}, Seconds{1});
  watch.observe({10 << 20}, Seconds{1});
  const auto line = watch.observe({10 << 20}, Seconds{1});
  ASSERT_TRUE(line);
  for (const char* part : {"storage_write", "10.0 MiB/s", "100.0 MiB/s"}) {
    EXPECT_NE(line->find(part), std::string::npos) << *line;
  }
}

TEST(DriveWatch, StepsThatMoveNothingSayNothing) {
  DriveWatch watch("storage_read");
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(watch.observe({}, Seconds{}));
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "devices/base/error.h"

namespace sluice {
namespace {

std::string contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Log, QuietSilencesTalkButNotWarnings) {
  set_quiet(true);
  testing::internal::CaptureStderr();
  log_info("starting");
  log_warn("disk nearly full");
  const std::string said = testing::internal::GetCapturedStderr();
  set_quiet(false);
  EXPECT_EQ(said, "warning: disk nearly full\n");
}

TEST(Log, FileGetsEveryLineEvenWhenQuiet) {
  const std::filesystem::path path = testing::TempDir() + "/sluice_log_test.txt";
  std::filesystem::remove(path);
  set_quiet(true);
  set_log_file(path);
  log_info("one");
  set_log_file({});
  log_info("two");
  set_quiet(false);
  EXPECT_EQ(contents(path), "one\n");
  std::filesystem::remove(path);
}

TEST(Log, FileThatCannotBeOpenedIsAnError) {
  EXPECT_THROW(set_log_file("/nonexistent/folder/log.txt"), Error);
}

}  // namespace
}  // namespace sluice

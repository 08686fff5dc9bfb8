// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

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
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  set_log_file(file);
  log_info("one");
  set_log_file(-1);
  log_info("two");
  set_quiet(false);
  ::close(file);
  EXPECT_EQ(contents(path), "one\n");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sluice

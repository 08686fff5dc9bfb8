// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// main() of every test executable. A test that cannot run here says
// `GTEST_SKIP() << "needs nvme: ..."`; SLUICE_REQUIRE=nvme,gpu makes such a skip a
// failure, so that a machine which has the hardware cannot pass by skipping.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>

namespace {

class RequireHardware final : public testing::EmptyTestEventListener {
 public:
  explicit RequireHardware(std::string required) : required_(std::move(required)) {}

 private:
  void OnTestEnd(const testing::TestInfo& info) override {
    const testing::TestResult& result = *info.result();
    for (int i = 0; i < result.total_part_count(); ++i) {
      const testing::TestPartResult& part = result.GetTestPartResult(i);
      std::istringstream names(required_);
      for (std::string name; part.skipped() && std::getline(names, name, ',');) {
        if (std::string(part.message()).find("needs " + name) == std::string::npos) continue;
        ADD_FAILURE() << "skipped, but SLUICE_REQUIRE names " << name;
      }
    }
  }

  const std::string required_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  // Death tests run beside threads here: fork and exec, not fork alone.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  if (const char* required = std::getenv("SLUICE_REQUIRE")) {
    testing::UnitTest::GetInstance()->listeners().Append(new RequireHardware(required));
  }
  return RUN_ALL_TESTS();
}

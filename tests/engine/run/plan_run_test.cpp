// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The line that says what does not fit, and what would.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "devices/base/error.h"
#include "engine/run/train.h"

namespace sluice {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Short of 40 bytes; each remedy is a word repeated, followed by its end.
std::string line_of(const std::vector<std::size_t>& lengths) {
  Infeasible infeasible{.needed = {100}, .capacity = {60}, .source = "limits.device"};
  infeasible.remedies.push_back({.change = "not enough", .missing = {1}});
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    infeasible.remedies.push_back({.change = std::string(lengths[i], 'x') + std::to_string(i),
                                   .step_seconds = static_cast<double>(i + 1)});
  }
  try {
    throw_infeasible(infeasible);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
    EXPECT_LE(std::string(error.what()).size(), kLongestLine);
    return error.what();
  }
}

TEST(InfeasibleLine, SaysWhatIsShortAndTheRemediesThatFit) {
  EXPECT_EQ(line_of({1, 1}),
            "does not fit: device needs 100 bytes, limit 60 (limits.device), short of 40 bytes; "
            "try x0 (at most 1.00 s a step), or x1 (at most 2.00 s a step)");
}

TEST(InfeasibleLine, CutsNoRemedyInHalf) {
  const std::string line = line_of({200, 300, 40, 5});
  EXPECT_THAT(line,
              AllOf(HasSubstr("x0 ("), HasSubstr("x2 ("), HasSubstr("x3 ("), Not(HasSubstr("x1 (")),
                    Not(HasSubstr("[...]")), testing::EndsWith(" (all: `sluice plan`)")));
}

TEST(InfeasibleLine, NamesThreeAtMost) {
  EXPECT_THAT(line_of({1, 1, 1, 1}),
              AllOf(Not(HasSubstr("x3")), testing::EndsWith("step) (all: `sluice plan`)")));
}

TEST(InfeasibleLine, WithoutARemedyOrWithOneThatIsTooLongNamesASmallerModel) {
  EXPECT_THAT(line_of({}), testing::EndsWith("try a smaller model or batch"));
  EXPECT_THAT(line_of({500}),
              testing::EndsWith("try a smaller model or batch (all: `sluice plan`)"));
}

}  // namespace
}  // namespace sluice

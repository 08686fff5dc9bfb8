// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The page that `sluice plan` prints.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "offload/plan_json.h"

namespace sluice {
namespace {

using testing::HasSubstr;

// Of a model with 8 blocks between two other layers, a step of one second.
Plan plan_of_a_second() {
  Plan plan;
  plan.forecast.step_seconds = 1;
  plan.placement.recompute.assign(10, false);
  return plan;
}

std::string page(const Plan& plan) { return describe(plan, Machine{}); }

TEST(Describe, CountsTheBlocksThatAreRecomputed) {
  Plan plan = plan_of_a_second();
  EXPECT_THAT(page(plan), HasSubstr("recompute none\n"));
  plan.placement.recompute.assign(10, true);
  EXPECT_THAT(page(plan), HasSubstr("recompute 8 of 8 blocks\n"));
  plan.placement.recompute[3] = false;
  EXPECT_THAT(page(plan), HasSubstr("recompute 7 of 8 blocks\n"));
  plan.placement.recompute.assign(3, true);
  EXPECT_THAT(page(plan), HasSubstr("recompute 1 of 1 block\n"));
}

TEST(Describe, CallsARoundingErrorNoCostOfClipping) {
  Plan plan = plan_of_a_second();
  plan.clip_cost_seconds = 1e-15;
  EXPECT_THAT(page(plan), HasSubstr("exact clipping costs nothing\n"));
  plan.clip_cost_seconds = 0.01;
  EXPECT_THAT(page(plan), HasSubstr("exact clipping costs 10.0 ms a step\n"));
}

TEST(Describe, OneIsNoPlural) {
  Plan plan = plan_of_a_second();
  plan.placement.sequences = 1;
  plan.placement.fetch_ahead = 1;
  EXPECT_THAT(page(plan), HasSubstr("micro-batch 1 sequence x 1,"));
  EXPECT_THAT(page(plan), HasSubstr("fetch 1 layer ahead"));
  plan.placement.sequences = plan.placement.fetch_ahead = 2;
  EXPECT_THAT(page(plan), HasSubstr("micro-batch 2 sequences x 1,"));
  EXPECT_THAT(page(plan), HasSubstr("fetch 2 layers ahead"));
}

TEST(Describe, ADriveLastsDaysOrHours) {
  Plan plan = plan_of_a_second();
  const auto written = [&](double days) {
    plan.storage_written_per_step = {static_cast<std::int64_t>(600e12 / 86400 / days)};
    return page(plan);
  };
  EXPECT_THAT(written(40), HasSubstr("rated for 600 TB lasts 40 days\n"));
  EXPECT_THAT(written(1.3), HasSubstr("lasts 32 hours\n"));
  EXPECT_THAT(written(0.01), HasSubstr("lasts 1 hour\n"));
}

}  // namespace
}  // namespace sluice

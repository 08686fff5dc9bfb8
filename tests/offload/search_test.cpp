// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <gtest/gtest.h>

#include "devices/base/error.h"
#include "devices/storage.h"
#include "offload/builder.h"
#include "offload/placement_search.h"
#include "offload/plan.h"
#include "offload/simulate.h"
#include "tests/support/matrix_workload.h"

namespace sluice {
namespace {

const Plan& plan_of(const PlanResult& result) { return std::get<Plan>(result); }

void expect_within(const TierLimits& limits, std::int64_t batch) {
  const Model model = matrix_model({.blocks = 6, .width = 128, .vocabulary = 256}, batch);
  const PlanResult result = make_plan(model, {.global_batch = batch}, limits, test_machine());
  if (const auto* infeasible = std::get_if<Infeasible>(&result)) {
    EXPECT_GT(infeasible->missing().value, 0);
    // Those that fit come first, with their step time.
    ASSERT_GE(infeasible->remedies.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(infeasible->remedies[i].missing.value, 0) << infeasible->remedies[i].change;
      EXPECT_GT(infeasible->remedies[i].step_seconds, 0) << infeasible->remedies[i].change;
    }
    return;
  }
  for (const Tier tier : kTiers) {
    EXPECT_LE(plan_of(result).tiers[index_of(tier)].peak, limits.capacity[index_of(tier)]);
  }
}

TEST(Search, StaysWithinEveryLimit) {
  for (const std::int64_t device : {200'000, 400'000, 800'000, 1'600'000, 20'000'000}) {
    expect_within(limits_of(device, 1'500'000, 100'000'000), 8);
  }
  expect_within(limits_of(400'000, 1'500'000, 100'000'000), 64);
  for (const std::int64_t device : {200'000, 800'000}) {
    TierLimits limits = limits_of(device, 1'500'000, 1'000'000);
    expect_within(limits, 8);
    limits.source = {"the device", "MemAvailable", "free disk"};  // no key raises those
    expect_within(limits, 8);
  }
}

// What a plan says that it takes is enough, of each tier, whatever else there is.
void expect_own_peaks_are_enough(const TierLimits& limits, std::int64_t batch) {
  const Model model = matrix_model({.blocks = 6, .width = 128, .vocabulary = 256}, batch);
  const PlanRequest request{.global_batch = batch};
  const PlanResult first = make_plan(model, request, limits, test_machine());
  for (const Tier tier : kTiers) {
    TierLimits tight = limits;
    tight.capacity[index_of(tier)] = plan_of(first).tiers[index_of(tier)].peak;
    const PlanResult again = make_plan(model, request, tight, test_machine());
    ASSERT_TRUE(std::holds_alternative<Plan>(again))
        << name_of(tier) << " short of " << std::get<Infeasible>(again).missing().value;
  }
}

TEST(Search, APlansOwnPeaksAreLimitsThatItFitsIn) {
  for (const auto& [device, host] :
       {std::pair{800'000, 1'500'000}, {2'000'000, 20'000'000}, {20'000'000, 3'000'000}}) {
    SCOPED_TRACE(testing::Message() << device << ' ' << host);
    expect_own_peaks_are_enough(limits_of(device, host, 100'000'000), 8);
  }
  // Of 64 micro-batches a few waves are looked at.
  expect_own_peaks_are_enough(limits_of(2'000'000, 4'000'000, 100'000'000), 64);
}

// 8 bytes of RAM for each page on storage: a limit of the host that leaves no room for them
// gives another plan, or none.
TEST(Search, CountsTheChecksumsOfStorage) {
  const Model unchecked = matrix_model({.blocks = 6, .width = 128, .vocabulary = 256}, 8);
  Model model;
  model.workload = [&](std::int64_t sequences) {
    Workload workload = unchecked.workload(sequences);
    workload.checks_storage = true;
    return workload;
  };
  PlanRequest request{.global_batch = 8};
  request.states.assign(model.workload(1).flats.size(), Tier::kStorage);
  const TierLimits limits = limits_of(20'000'000, 20'000'000, 100'000'000);
  const PlanResult result = make_plan(model, request, limits, test_machine());
  const Plan& plan = plan_of(result);
  const TierUse& host = plan.tiers[index_of(Tier::kHost)];
  const Bytes stored = plan.program.extent[index_of(Tier::kStorage)];
  ASSERT_GT(stored.value, 4096);
  EXPECT_EQ(host.peak, plan.program.extent[index_of(Tier::kHost)] + checksum_table(stored));
  EXPECT_EQ(plan.program.storage_checksums, checksum_table(stored));
  TierLimits tight = limits;
  tight.capacity[index_of(Tier::kHost)] = host.peak;
  EXPECT_LE(missing_bytes(plan.program, tight)[index_of(Tier::kHost)], Bytes{0});
  tight.capacity[index_of(Tier::kHost)] = host.peak - Bytes{8};
  EXPECT_EQ(missing_bytes(plan.program, tight)[index_of(Tier::kHost)], Bytes{8});
}

// Homes are filled greedily, so a step may lose a few percent here and there.
TEST(Search, MoreMemoryNeverMakesAStepMuchSlower) {
  const Model model = matrix_model({.blocks = 6, .width = 128, .vocabulary = 256}, 8);
  const PlanRequest request{.global_batch = 8};
  double before = 1e9;
  for (std::int64_t device = 600'000; device < 40'000'000; device *= 2) {
    const PlanResult result =
        make_plan(model, request, limits_of(device, 10'000'000, 100'000'000), test_machine());
    ASSERT_TRUE(std::holds_alternative<Plan>(result)) << device;
    EXPECT_LE(plan_of(result).forecast.step_seconds, 1.08 * before) << device;
    before = std::min(before, plan_of(result).forecast.step_seconds);
  }
}

TEST(Search, KeepsWhatTheConfigFixes) {
  const Model model = matrix_model({.blocks = 4}, 8);
  const Workload workload = model.workload(2);
  PlanRequest request{.global_batch = 8};
  request.weights.assign(workload.flats.size(), Tier::kStorage);
  request.states.assign(workload.flats.size(), Tier::kHost);
  request.wave = 2;
  request.sequences = 2;
  request.recompute = true;
  const PlanResult result =
      make_plan(model, request, limits_of(1 << 30, 1 << 30, 1 << 30), test_machine());
  const Placement& p = plan_of(result).placement;
  EXPECT_EQ(p.weights, std::vector<Tier>(workload.flats.size(), Tier::kStorage));
  EXPECT_EQ(p.states, std::vector<Tier>(workload.flats.size(), Tier::kHost));
  EXPECT_EQ(p.wave, 2);
  EXPECT_EQ(p.sequences, 2);
  EXPECT_TRUE(p.recompute[1]);
}

// The limit that a plan needs exactly is enough; one page less is not.
TEST(Search, OnePageBelowTheNeedIsAnotherPlanOrNone) {
  const Model model = matrix_model({.blocks = 3}, 4);
  PlanRequest request{.global_batch = 4};
  request.sequences = 1;
  const Machine machine = test_machine();
  const PlanResult none = make_plan(model, request, limits_of(4096, 1 << 30, 0), machine);
  const auto& infeasible = std::get<Infeasible>(none);
  EXPECT_EQ(infeasible.tier, Tier::kDevice);
  const std::int64_t needed = infeasible.needed.value;

  const PlanResult exact = make_plan(model, request, limits_of(needed, 1 << 30, 0), machine);
  const PlanResult less = make_plan(model, request, limits_of(needed - 4096, 1 << 30, 0), machine);

  ASSERT_TRUE(std::holds_alternative<Plan>(exact));
  EXPECT_LE(plan_of(exact).tiers[0].peak.value, needed);
  if (const Plan* plan = std::get_if<Plan>(&less)) {
    EXPECT_LE(plan->tiers[0].peak.value, needed - 4096);
  }
}

// Every home of every flat parameter, Adam's place and both timings, on a small
// model: the pruned search must come close to the best of all.
TEST(Search, IsCloseToTheBestOfAllHomes) {
  const Model model = matrix_model({.blocks = 1, .width = 96, .vocabulary = 64}, 2);
  const Workload workload = model.workload(1);
  const CostModel costs(test_machine(), workload);
  for (const std::int64_t device : {150'000, 250'000, 400'000}) {
    const TierLimits limits = limits_of(device, 200'000, 10'000'000);
    double best = 1e9;
    const std::size_t flats = workload.flats.size();
    ASSERT_EQ(flats, 2U);
    for (int code = 0; code < 729 * 2; ++code) {
      Placement p = resident_placement(workload, true);
      p.segment_elements = 1 << 16;
      p.recompute.assign(workload.layers.size(), code >= 729);
      int digits = code % 729;
      for (std::size_t f = 0; f < flats; ++f) {
        for (auto* homes : {&p.weights, &p.gradients, &p.states}) {
          (*homes)[f] = static_cast<Tier>(digits % 3);
          digits /= 3;
        }
        p.adam_on_device[f] = p.states[f] == Tier::kDevice;
      }
      for (const int wave : {1, 2}) {
        p.wave = wave;
        const Program program = build_training(workload, p, costs);
        bool fits = true;
        for (const Tier tier : kTiers) {
          fits = fits && program.extent[index_of(tier)] <= limits.capacity[index_of(tier)];
        }
        if (!fits) continue;
        best = std::min(best, simulate(program, derive_waits(program), costs).step_seconds);
      }
    }
    PlanRequest request{.global_batch = 2};
    request.sequences = 1;
    const PlanResult result = make_plan(model, request, limits, test_machine());
    if (best == 1e9) {
      EXPECT_TRUE(std::holds_alternative<Infeasible>(result)) << device;
      continue;
    }
    ASSERT_TRUE(std::holds_alternative<Plan>(result)) << device;
    EXPECT_LE(plan_of(result).forecast.step_seconds, 1.10 * best) << device;
  }
}

}  // namespace
}  // namespace sluice

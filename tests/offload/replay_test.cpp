// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/replay.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "devices/base/error.h"
#include "offload/plan_json.h"
#include "tests/support/matrix_workload.h"

namespace sluice {
namespace {

TEST(Replay, ReplaysToTheSameProgram) {
  const Model model = matrix_model({.blocks = 4}, 8);
  const Machine machine = test_machine();
  const TierLimits limits = limits_of(300'000, 1 << 20, 1 << 26);
  const PlanResult result = make_plan(model, {.global_batch = 8}, limits, machine);
  ASSERT_TRUE(std::holds_alternative<Plan>(result));

  const StoredPlan stored = parse_plan(to_json(result, machine), "plan.json");
  const Plan replayed = replay_plan(stored, model, {.global_batch = 8}, limits, machine);

  EXPECT_EQ(replayed.placement, std::get<Plan>(result).placement);
  EXPECT_EQ(hash_of(replayed.program), hash_of(std::get<Plan>(result).program));
}

TEST(Replay, RefusesAPlanForAnotherModelOrMachine) {
  const Machine machine = test_machine();
  const TierLimits limits = limits_of(1 << 30, 1 << 30, 1 << 30);
  const Model model = matrix_model({.blocks = 4}, 8);
  const PlanRequest request{.global_batch = 8};
  const StoredPlan stored =
      parse_plan(to_json(make_plan(model, request, limits, machine), machine), "p");
  const Model other = matrix_model({.blocks = 5}, 8);
  const Model wider = matrix_model({.blocks = 4, .width = 32}, 8);
  Machine elsewhere = machine;
  elsewhere.name = "elsewhere";
  EXPECT_THROW(replay_plan(stored, other, request, limits, machine), Error);
  EXPECT_THROW(replay_plan(stored, wider, request, limits, machine), Error);
  EXPECT_THROW(replay_plan(stored, model, request, limits, elsewhere), Error);
}

TEST(Replay, RefusesWhatIsNoPlanInOneLine) {
  for (const std::string text :
       {"", "{}", "[1,2]", "{\"format\":\"sluice-plan\",\"version\":99}", "{\"format\":3}",
        "{\"format\":\"sluice-plan\",\"version\":1,\"infeasible\":{}}", "{\"format\": \"slu"}) {
    try {
      parse_plan(text, "p.json");
      ADD_FAILURE() << "took " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      EXPECT_EQ(std::string(error.what()).rfind("p.json: ", 0), 0U) << error.what();
    }
  }
}

// The fields beside `placement` tell it once more. A person who edits one of them would
// otherwise wait for an effect that never comes.
TEST(Replay, RefusesAnEditedDecisionByName) {
  const Machine machine = test_machine();
  const TierLimits limits = limits_of(300'000, 1 << 20, 1 << 26);
  const Model model = matrix_model({.blocks = 4}, 8);
  const PlanRequest request{.global_batch = 8};
  const std::string text = to_json(make_plan(model, request, limits, machine), machine);
  const nlohmann::ordered_json plan = nlohmann::ordered_json::parse(text);
  const auto refusal = [&](const nlohmann::ordered_json& edited) -> std::string {
    try {
      replay_plan(parse_plan(edited.dump(), "plan.json"), model, request, limits, machine);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return error.what();
    }
    return {};
  };
  EXPECT_EQ(refusal(plan), "");
  for (const char* field :
       {"wave", "micro_batch", "micro_batches", "fetch_ahead", "drain_late", "segment_bytes"}) {
    auto edited = plan;
    edited[field] = edited[field].get<std::int64_t>() + 1;
    EXPECT_NE(refusal(edited).find(fmt::format("plan.json: {} is not", field)), std::string::npos)
        << refusal(edited);
  }
  auto moved = plan;
  moved["placements"][0]["tier"] = moved["placements"][0]["tier"] == "host" ? "device" : "host";
  EXPECT_NE(refusal(moved).find("plan.json: placements is not"), std::string::npos);
  auto none = plan;
  none.erase("update");
  EXPECT_NE(refusal(none).find("plan.json: update is not"), std::string::npos);
  auto placed = plan;
  placed["placement"]["fetch_ahead"] = placed["placement"]["fetch_ahead"].get<int>() + 1;
  EXPECT_NE(refusal(placed).find("edited"), std::string::npos);
  auto batches = plan;
  batches["placement"]["sequences"] = 3;
  EXPECT_NE(refusal(batches).find("do not make a step"), std::string::npos);
}

// Whatever a config fixes, its own plan is replayed under it, and under another choice
// the key is named.
TEST(Replay, RefusesAChoiceThatThePlanMadeOtherwise) {
  const Machine machine = test_machine();
  const TierLimits limits = limits_of(1 << 20, 1 << 22, 1 << 26);
  const Model model = matrix_model({.blocks = 3}, 8);
  const auto flats = model.workload(1).flats.size();
  const auto layers = model.workload(1).layers.size();
  const PlanRequest free{.global_batch = 8, .clips = false};
  const auto all = [](std::size_t count, Tier tier) {
    return std::vector<std::optional<Tier>>(count, tier);
  };
  std::vector<std::pair<std::string, PlanRequest>> cases;
  for (const Tier tier : kTiers) {
    cases.emplace_back("place.weights", free).second.weights = all(flats, tier);
    cases.emplace_back("place.gradients", free).second.gradients = all(flats, tier);
    cases.emplace_back("place.optimizer", free).second.states = all(flats, tier);
    cases.emplace_back("place.activations", free).second.activations = all(layers, tier);
  }
  for (const bool choice : {false, true}) {
    cases.emplace_back("place.adam", free).second.adam_on_device = choice;
    cases.emplace_back("place.recompute", free).second.recompute = choice;
    cases.emplace_back("place.update", free).second.deferred = choice;
    cases.emplace_back("log.digest", free).second.digest = choice;
  }
  for (const int number : {0, 1, 2}) {
    cases.emplace_back("place.wave", free).second.wave = number;
    cases.emplace_back("place.fetch_ahead", free).second.fetch_ahead = number + 1;
    cases.emplace_back("place.drain_late", free).second.drain_late = number;
    cases.emplace_back("place.segment", free).second.segment = Bytes{(1 + number) << 16};
    cases.emplace_back("train.micro_batch", free).second.sequences = 1 << number;
  }
  int refused = 0;
  for (const auto& [key, request] : cases) {
    const PlanResult result = make_plan(model, request, limits, machine);
    ASSERT_TRUE(std::holds_alternative<Plan>(result)) << key;
    const Plan& plan = std::get<Plan>(result);
    EXPECT_EQ(conflicting_key(request, plan.placement, plan.workload), "");
    EXPECT_EQ(conflicting_key(free, plan.placement, plan.workload),
              key == "log.digest" && request.digest ? key : "");
    for (const auto& [other_key, other] : cases) {
      if (other_key != key) continue;
      const std::string named = conflicting_key(other, plan.placement, plan.workload);
      EXPECT_TRUE(named.empty() || named == key) << named << " for " << key;
      refused += named.empty() ? 0 : 1;
    }
  }
  EXPECT_GE(refused, 2 * 4 + 3 * 2);  // tiers that differ, and each number against the others
}

}  // namespace
}  // namespace sluice

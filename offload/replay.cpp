// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/replay.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/strict_json.h"
#include "offload/placement_search.h"
#include "offload/plan_json.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

std::vector<Tier> tiers_of(const Json& names) {
  std::vector<Tier> tiers;
  for (const auto& entry : names) {
    const auto name = entry.get<std::string>();
    bool known = false;
    for (const Tier tier : kTiers) {
      if (name != name_of(tier)) continue;
      tiers.push_back(tier);
      known = true;
    }
    if (!known) throw std::invalid_argument("unknown tier \"" + printable(name) + "\"");
  }
  return tiers;
}

// A whole number up to `most`: conversions of nlohmann's would cut what is larger.
std::int64_t whole(const Json& j, const char* name, std::int64_t most = INT32_MAX) {
  const Json& value = j.at(name);
  if (!value.is_number_integer() || value < 0 || value > most) {
    throw std::invalid_argument(fmt::format("{} is no whole number from 0 to {}", name, most));
  }
  return value.get<std::int64_t>();
}

Placement placement_of(const Json& j) {
  const auto small = [&](const char* name) { return static_cast<int>(whole(j, name)); };
  return {.weights = tiers_of(j.at("weights")),
          .gradients = tiers_of(j.at("gradients")),
          .states = tiers_of(j.at("states")),
          .adam_on_device = j.at("adam_on_device").get<std::vector<bool>>(),
          .activations = tiers_of(j.at("activations")),
          .recompute = j.at("recompute").get<std::vector<bool>>(),
          .sequences = whole(j, "sequences"),
          .wave = small("wave"),
          .deferred = j.at("deferred").get<bool>(),
          .fetch_ahead = small("fetch_ahead"),
          .drain_late = small("drain_late"),
          .segment_elements = whole(j, "segment_elements", std::int64_t{1} << 48),
          .ring_slots = small("ring_slots"),
          .reuse_gradients = j.at("reuse_gradients").get<bool>(),
          .digest = j.at("digest").get<bool>(),
          .save = j.at("save").get<bool>()};
}

// What the builder requires of a placement that a person may have edited.
void check_placement(const Placement& p, const Workload& w, const std::string& name) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: {}; make a new plan with `sluice plan`", name, what));
  };
  const std::size_t flats = w.flats.size();
  if (p.weights.size() != flats || p.gradients.size() != flats || p.states.size() != flats ||
      p.adam_on_device.size() != flats || p.activations.size() != w.layers.size() ||
      p.recompute.size() != w.layers.size()) {
    refuse(fmt::format("the plan is for another model: it places {} groups of tensors, {} has {}",
                       p.weights.size(), w.name, flats));
  }
  if (p.wave < 1 || p.wave > w.micro_batches) refuse("wave is not in 1..micro_batches");
  if (p.fetch_ahead < 1 || p.fetch_ahead > 64) refuse("fetch_ahead is not in 1..64");
  if (p.drain_late < 0 || p.drain_late > 64) refuse("drain_late is not in 0..64");
  if (p.ring_slots < 1 || p.ring_slots > 64) refuse("ring_slots is not in 1..64");
  if (p.segment_elements < 2048 || p.segment_elements % 2048 != 0) {
    refuse("segment_elements is not a multiple of 2048");
  }
}

// The fields that tell the placement once more, for people, and what to type to change
// each. They are written with the plan and must be what the placement gives.
struct Retold {
  const char* field;
  const char* key;
};
constexpr Retold kRetold[] = {{"placements", "place.*"},
                              {"wave", "place.wave"},
                              {"update", "place.update"},
                              {"recompute", "place.recompute"},
                              {"micro_batch", "train.micro_batch"},
                              {"micro_batches", "train.global_batch"},
                              {"fetch_ahead", "place.fetch_ahead"},
                              {"drain_late", "place.drain_late"},
                              {"segment_bytes", "place.segment"}};

void check_retold(const StoredPlan& stored, const Plan& plan, const Machine& machine) {
  const Json asked = Json::parse(stored.text);
  const Json made = Json::parse(to_json(plan, machine));
  for (const auto& [field, key] : kRetold) {
    if (asked.contains(field) && asked.at(field) == made.at(field)) continue;
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: {} is not what the plan was made with; a plan is replayed as it "
                            "is: set {} and make a new one with `sluice plan --json {}`",
                            stored.name, field, key, stored.name));
  }
}

bool agrees(const std::vector<std::optional<Tier>>& fixed, const std::vector<Tier>& made) {
  for (std::size_t i = 0; i < std::min(fixed.size(), made.size()); ++i) {
    if (fixed[i] && *fixed[i] != made[i]) return false;
  }
  return true;
}

template <typename T>
bool agrees(const std::optional<T>& fixed, const T& made) {
  return !fixed || *fixed == made;
}

bool agrees(const std::optional<bool>& fixed, const std::vector<bool>& made) {
  return !fixed || std::all_of(made.begin(), made.end(), [&](bool one) { return one == *fixed; });
}

}  // namespace

std::string conflicting_key(const PlanRequest& request, const Placement& p, const Workload& w) {
  if (!agrees(request.weights, p.weights)) return "place.weights";
  if (!agrees(request.gradients, p.gradients)) return "place.gradients";
  if (!agrees(request.states, p.states)) return "place.optimizer";
  if (!agrees(request.activations, p.activations)) return "place.activations";
  if (!agrees(request.adam_on_device, p.adam_on_device)) return "place.adam";
  if (!agrees(request.recompute, p.recompute)) return "place.recompute";
  if (!agrees(request.deferred, p.deferred)) return "place.update";
  if (!agrees(request.fetch_ahead, p.fetch_ahead)) return "place.fetch_ahead";
  if (!agrees(request.drain_late, p.drain_late)) return "place.drain_late";
  if (!agrees(request.sequences, p.sequences)) return "train.micro_batch";
  if (request.wave && wave_of(*request.wave, w.micro_batches) != p.wave) return "place.wave";
  if (request.segment && segment_elements_of(*request.segment, w.moments) != p.segment_elements) {
    return "place.segment";
  }
  if (request.clips && !p.deferred) return "train.clip";
  if (request.digest != p.digest) return "log.digest";
  return {};
}

StoredPlan parse_plan(std::string json, const std::string& name) {
  constexpr std::size_t kMost = 16 << 20;
  const auto refuse = [&](const std::string& what) -> Error {
    return {ErrorKind::kConfig, fmt::format("{}: not a plan of this version: {}", name, what)};
  };
  if (json.size() > kMost) throw refuse("larger than 16 MiB");
  check_strict_json(json, name, ErrorKind::kConfig);
  try {
    const Json j = Json::parse(json);
    if (j.at("format") != "sluice-plan") throw refuse("format is not \"sluice-plan\"");
    if (j.at("version") != kPlanVersion) {
      throw refuse(fmt::format("version {}, this build reads {}", printable(j.at("version").dump()),
                               kPlanVersion));
    }
    if (j.contains("infeasible")) throw refuse("it says why nothing fits, and has no placement");
    StoredPlan stored{.name = name,
                      .text = {},
                      .workload = j.at("workload").at("name").get<std::string>(),
                      .machine = j.at("machine").at("name").get<std::string>(),
                      .placement = placement_of(j.at("placement")),
                      .hash = j.at("hash").get<std::string>()};
    if (stored.hash.size() != 16 ||
        stored.hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
      throw refuse("hash is not 16 hex digits");
    }
    stored.text = std::move(json);
    return stored;
  } catch (const nlohmann::json::exception& error) {
    const std::string text = error.what();  // "[json.exception...] key 'hash' not found"
    throw refuse(text.substr(text.find("] ") + 2));
  } catch (const std::logic_error& error) {
    throw refuse(error.what());
  }
}

Plan replay_plan(const StoredPlan& stored, const Model& model, const PlanRequest& request,
                 const TierLimits& limits, const Machine& machine) {
  const std::string& name = stored.name;
  if (stored.machine != machine.name) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: made for machine \"{}\", this one is \"{}\"; give its file with "
                            "--machine, or make a new plan with `sluice plan`",
                            name, stored.machine, machine.name));
  }
  const std::int64_t sequences = stored.placement.sequences;
  if (sequences < 1 || request.global_batch % (sequences * request.groups) != 0) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: micro-batches of {} sequences do not make a step of {}; make a "
                            "new plan with `sluice plan`",
                            name, sequences, request.global_batch));
  }
  const Workload workload = model.workload(sequences);
  check_placement(stored.placement, workload, name);
  const std::string key = conflicting_key(request, stored.placement, workload);
  if (!key.empty()) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: {} asks for something else than the plan has; leave out --plan or "
                            "{}, or make a new plan with `sluice plan`",
                            name, key, key));
  }
  Plan plan = build_plan(model, stored.placement, limits, machine, request.serial);
  if (stored.workload != workload.name || hash_text(plan.program) != stored.hash) {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{}: made for another model or machine, or edited (program hash {}, here {}); "
                    "make a new plan with `sluice plan`",
                    name, stored.hash, hash_text(plan.program)));
  }
  check_retold(stored, plan, machine);
  return plan;
}

}  // namespace sluice

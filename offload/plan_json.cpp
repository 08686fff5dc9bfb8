// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/plan_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "devices/base/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

template <typename T>
std::vector<std::string> names(const std::vector<T>& values) {
  std::vector<std::string> result;
  for (const T& value : values) result.emplace_back(name_of(value));
  return result;
}

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

Json placement_json(const Placement& p) {
  return {{"weights", names(p.weights)},
          {"gradients", names(p.gradients)},
          {"states", names(p.states)},
          {"adam_on_device", p.adam_on_device},
          {"activations", names(p.activations)},
          {"recompute", p.recompute},
          {"sequences", p.sequences},
          {"wave", p.wave},
          {"deferred", p.deferred},
          {"fetch_ahead", p.fetch_ahead},
          {"drain_late", p.drain_late},
          {"segment_elements", p.segment_elements},
          {"ring_slots", p.ring_slots},
          {"digest", p.digest},
          {"save", p.save}};
}

Json tiers_json(const Plan& plan) {
  Json tiers = Json::object();
  for (const Tier tier : kTiers) {
    const TierUse& use = plan.tiers[index_of(tier)];
    Json roles = Json::object();
    for (std::size_t role = 0; role < kRoleCount; ++role) {
      roles[std::string(name_of(static_cast<Role>(role)))] = use.by_role[role].value;
    }
    tiers[std::string(name_of(tier))] = {{"capacity_bytes", use.capacity.value},
                                         {"limit_source", use.source},
                                         {"peak_bytes", use.peak.value},
                                         {"by_role", roles}};
  }
  return tiers;
}

// Where each layer's tensors of each role live.
Json placements_json(const Plan& plan) {
  Json rows = Json::array();
  const Workload& w = plan.workload;
  const auto row = [&](const std::string& layer, std::string_view role, Tier tier,
                       std::int64_t bytes) {
    rows.push_back({{"layer", layer}, {"role", role}, {"tier", name_of(tier)}, {"bytes", bytes}});
  };
  for (std::size_t f = 0; f < w.flats.size(); ++f) {
    const FlatParameter& flat = w.flats[f];
    const FlatHomes& homes = plan.program.homes[f];
    const auto size = [&](BufferId id) {
      return plan.program.buffers[static_cast<std::size_t>(id)].size.value;
    };
    row(flat.name, "weights", plan.placement.weights[f], size(homes.weight));
    row(flat.name, "gradients", plan.placement.gradients[f], size_of(w.gradient) * flat.count);
    row(flat.name, "optimizer", plan.placement.states[f], size(homes.state));
  }
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    const LayerSpec& layer = w.layers[l];
    const std::int64_t kept =
        layer.input.value + (plan.placement.recompute[l] ? 0 : layer.saved.value);
    row(layer.name, "activations", plan.placement.activations[l], kept * w.micro_batches);
  }
  return rows;
}

Json forecast_json(const Plan& plan) {
  const auto use = lane_use(plan.program, plan.forecast);
  Json lanes = Json::object();
  for (const Lane lane : kLanes) {
    lanes[std::string(name_of(lane))] = {{"busy_seconds", use[index_of(lane)].busy_seconds},
                                         {"bytes", use[index_of(lane)].bytes.value}};
  }
  const double step = plan.forecast.step_seconds;
  return {{"step_seconds", step},
          {"tokens_per_second", static_cast<double>(plan.workload.tokens_per_step().value) / step},
          {"bottleneck", name_of(plan.bottleneck)},
          {"phase_bound_seconds", plan.phase_bound_seconds},
          {"clip_cost_seconds", plan.clip_cost_seconds},
          {"storage_written_bytes", plan.storage_written_per_step.value},
          {"save_bytes", plan.save.size.value},
          {"save_seconds", plan.save.seconds},
          {"save_pause_seconds", plan.save.pause_seconds},
          {"lanes", lanes}};
}

Json plan_json(const Plan& plan) {
  const Placement& p = plan.placement;
  Json j;
  j["workload"] = {{"name", plan.workload.name},
                   {"parameters", plan.workload.parameters()},
                   {"tokens_per_step", plan.workload.tokens_per_step().value}};
  j["tiers"] = tiers_json(plan);
  j["placements"] = placements_json(plan);
  j["wave"] = p.wave;
  j["update"] = p.deferred ? "deferred" : "backward";
  j["recompute"] = p.recompute;
  j["micro_batch"] = p.sequences;
  j["micro_batches"] = plan.workload.micro_batches;
  j["fetch_ahead"] = p.fetch_ahead;
  j["drain_late"] = p.drain_late;
  j["segment_bytes"] = segment_layout(p.segment_elements, plan.workload.moments).size.value;
  j["forecast"] = forecast_json(plan);
  j["advice"] = plan.advice;
  j["operations"] = plan.program.operations.size();
  j["hash"] = hex(hash_of(plan.program));
  j["placement"] = placement_json(p);
  return j;
}

Json infeasible_json(const Infeasible& infeasible) {
  Json remedies = Json::array();
  for (const Remedy& remedy : infeasible.remedies) {
    Json row = {{"change", remedy.change}, {"missing_bytes", remedy.missing.value}};
    if (remedy.missing.value > 0) {
      row["step_seconds"] = nullptr;
    } else {
      row["step_seconds"] = remedy.step_seconds;
    }
    remedies.push_back(row);
  }
  return {{"tier", name_of(infeasible.tier)},
          {"needed_bytes", infeasible.needed.value},
          {"capacity_bytes", infeasible.capacity.value},
          {"missing_bytes", infeasible.missing().value},
          {"limit_source", infeasible.source},
          {"remedies", remedies}};
}

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
    if (!known) throw std::invalid_argument("unknown tier \"" + name + "\"");
  }
  return tiers;
}

Placement placement_of(const Json& j) {
  return {.weights = tiers_of(j.at("weights")),
          .gradients = tiers_of(j.at("gradients")),
          .states = tiers_of(j.at("states")),
          .adam_on_device = j.at("adam_on_device").get<std::vector<bool>>(),
          .activations = tiers_of(j.at("activations")),
          .recompute = j.at("recompute").get<std::vector<bool>>(),
          .sequences = j.at("sequences").get<std::int64_t>(),
          .wave = j.at("wave").get<int>(),
          .deferred = j.at("deferred").get<bool>(),
          .fetch_ahead = j.at("fetch_ahead").get<int>(),
          .drain_late = j.at("drain_late").get<int>(),
          .segment_elements = j.at("segment_elements").get<std::int64_t>(),
          .ring_slots = j.at("ring_slots").get<int>(),
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

}  // namespace

std::string to_json(const PlanResult& result, const Machine& machine) {
  Json j;
  j["format"] = "sluice-plan";
  j["version"] = kVersion;
  j["machine"] = {{"name", machine.name}, {"provenance", machine.provenance}};
  if (const Plan* plan = std::get_if<Plan>(&result)) {
    j.update(plan_json(*plan));
  } else {
    j["infeasible"] = infeasible_json(std::get<Infeasible>(result));
  }
  return j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

StoredPlan parse_plan(const std::string& json, const std::string& name) {
  constexpr std::size_t kMost = 16 << 20;
  const auto refuse = [&](const std::string& what) -> Error {
    return {ErrorKind::kConfig, fmt::format("{}: not a plan of this version: {}", name, what)};
  };
  if (json.size() > kMost) throw refuse("larger than 16 MiB");
  try {
    const Json j = Json::parse(json);
    if (j.at("format") != "sluice-plan") throw refuse("format is not \"sluice-plan\"");
    if (j.at("version") != kVersion) {
      throw refuse(
          fmt::format("version {}, this build reads {}", j.at("version").dump(), kVersion));
    }
    if (j.contains("infeasible")) throw refuse("it says why nothing fits, and has no placement");
    StoredPlan stored{.workload = j.at("workload").at("name").get<std::string>(),
                      .machine = j.at("machine").at("name").get<std::string>(),
                      .placement = placement_of(j.at("placement"))};
    const auto text = j.at("hash").get<std::string>();
    std::size_t used = 0;
    stored.hash = std::stoull(text, &used, 16);
    if (text.size() != 16 || used != 16) throw refuse("hash is not 16 hex digits");
    return stored;
  } catch (const nlohmann::json::exception& error) {
    throw refuse(error.what());
  } catch (const std::logic_error& error) {
    throw refuse(error.what());
  }
}

Plan replay_plan(const StoredPlan& stored, const Model& model, const TierLimits& limits,
                 const Machine& machine, const std::string& name) {
  if (stored.machine != machine.name) {
    throw Error(ErrorKind::kConfig,
                fmt::format("{}: made for machine \"{}\", this one is \"{}\"; give its file with "
                            "--machine, or make a new plan with `sluice plan`",
                            name, stored.machine, machine.name));
  }
  const Workload workload = model.workload(stored.placement.sequences);
  check_placement(stored.placement, workload, name);
  Plan plan = build_plan(model, stored.placement, limits, machine);
  if (stored.workload != workload.name || hash_of(plan.program) != stored.hash) {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{}: made for another model or machine (program hash {}, here {}); make "
                    "a new plan with `sluice plan`",
                    name, hex(stored.hash), hex(hash_of(plan.program))));
  }
  return plan;
}

}  // namespace sluice

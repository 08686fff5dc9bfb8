// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/plan_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
std::vector<std::string> names(const std::vector<T>& values) {
  std::vector<std::string> result;
  for (const T& value : values) result.emplace_back(name_of(value));
  return result;
}

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
          {"reuse_gradients", p.reuse_gradients},
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
  Json j = Json::object();
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
  j["hash"] = hash_text(plan.program);
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

}  // namespace

std::string hash_text(const Program& program) { return fmt::format("{:016x}", hash_of(program)); }

std::string to_json(const PlanResult& result, const Machine& machine) {
  // Objects from the start: one that nlohmann makes of null stays without a value, and is freed
  // as if it had one, where memory is refused.
  Json j = Json::object();
  j["format"] = "sluice-plan";
  j["version"] = kPlanVersion;
  j["machine"] = {{"name", machine.name}, {"provenance", machine.provenance}};
  if (const Plan* plan = std::get_if<Plan>(&result)) {
    j.update(plan_json(*plan));
  } else {
    j["infeasible"] = infeasible_json(std::get<Infeasible>(result));
  }
  return j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/remedies.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <future>
#include <tuple>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "offload/builder.h"
#include "offload/placement_search.h"
#include "offload/simulate.h"

namespace sluice {
namespace {

Tier shortest(const std::array<Bytes, kTierCount>& missing) {
  Tier tier = Tier::kDevice;
  for (const Tier other : kTiers) {
    if (missing[index_of(other)] > missing[index_of(tier)]) tier = other;
  }
  return tier;
}

// A change of what was asked for, tried by searching again.
struct Change {
  std::string text;
  Model model;
  PlanRequest request;
  TierLimits limits;
  bool nearest_fits = false;  // the placement that was short of the least

  void add(const std::string& part) { text += (text.empty() ? "" : " ") + part; }
};

Model with_moments(const Model& model, DType moments) {
  Model changed;
  changed.workload = [make = model.workload, moments](std::int64_t sequences) {
    Workload workload = make(sequences);
    workload.moments = moments;
    return workload;
  };
  return changed;
}

Model same(const Model& model) {
  Model copy;
  copy.workload = model.workload;
  return copy;
}

Remedy remedy_of(const Change& change, const SearchResult& found, double nearest_seconds) {
  Remedy remedy{.change = change.text};
  if (found.placement) remedy.step_seconds = found.step_seconds;
  if (change.nearest_fits) {
    remedy.step_seconds =
        found.placement ? std::min(found.step_seconds, nearest_seconds) : nearest_seconds;
  } else if (!found.placement) {
    for (const Bytes b : found.nearest_missing) remedy.missing = std::max(remedy.missing, b);
  }
  return remedy;
}

// What fits first, fastest first, and what is larger to no use behind that, or not at all where
// there is enough; then what helps most.
void order(std::vector<Remedy>& remedies) {
  constexpr std::ptrdiff_t kEnough = 3;
  const auto fits_well = [](const Remedy& r) { return r.missing.value <= 0 && !r.gains_nothing; };
  std::ptrdiff_t spare = kEnough - std::ranges::count_if(remedies, fits_well);
  std::erase_if(remedies, [&](const Remedy& r) { return r.gains_nothing && spare-- <= 0; });
  std::stable_sort(remedies.begin(), remedies.end(), [](const Remedy& a, const Remedy& b) {
    return std::tuple(std::max(a.missing, Bytes{0}), a.gains_nothing, a.step_seconds) <
           std::tuple(std::max(b.missing, Bytes{0}), b.gains_nothing, b.step_seconds);
  });
}

}  // namespace

Infeasible explain(const Model& model, const PlanRequest& request, const TierLimits& limits,
                   const Machine& machine, const SearchResult& result) {
  // Measured on the whole Program; the search may have looked at a few waves of it.
  std::array<Bytes, kTierCount> missing = result.nearest_missing, extent{};
  std::future<double> nearest_seconds;
  bool large = false;  // one Program is more than a change may cost
  if (result.nearest) {
    Workload workload = model.workload(result.nearest->sequences);
    Program program = build_training(workload, *result.nearest, CostModel(machine, workload));
    missing = missing_bytes(program, limits);
    for (const Tier tier : kTiers) extent[index_of(tier)] = program.needs(tier);
    large = std::ssize(program.operations) > kRemedyBudget;
    nearest_seconds = std::async(
        std::launch::async, [&machine, serial = request.serial, workload = std::move(workload),
                             program = std::move(program)] {
          return simulate(program, derive_waits(program), CostModel(machine, workload),
                          {.serial = serial, .warm_up = 1})
              .step_seconds;
        });
  }
  const Tier tier = shortest(missing);
  const std::size_t t = index_of(tier);
  // Where device and host share the RAM, it may be short although neither limit is.
  const bool shared =
      limits.shared_ram && tier == Tier::kHost && extent[t] - limits.capacity[t] < missing[t];
  const Bytes capacity = shared ? *limits.shared_ram : limits.capacity[t];
  Infeasible infeasible{.tier = tier,
                        .needed = capacity + missing[t],
                        .capacity = capacity,
                        .source = shared ? limits.shared_source : limits.source[t]};

  std::vector<Change> changes;
  constexpr std::int64_t kMiB = 1 << 20;
  const auto by_key = [&](Tier which) {
    return limits.source[index_of(which)] == fmt::format("limits.{}", name_of(which));
  };
  // What is missing, or `factor` times what is needed, which is faster: the nearest placement
  // fits there.
  const auto enough = [&](double factor) {
    Change change{"", same(model), request, limits, true};
    std::array<Bytes, kTierCount> used = extent;
    for (const Tier short_tier : kTiers) {
      const std::size_t s = index_of(short_tier);
      if (missing[s].value <= 0) continue;
      const Bytes needed = limits.capacity[s] + missing[s];
      used[s] =
          round_up(Bytes{static_cast<std::int64_t>(static_cast<double>(needed.value) * factor)},
                   Bytes{kMiB});
      change.limits.capacity[s] = used[s];
      // A limit that is the machine's is not raised by a key.
      if (by_key(short_tier)) {
        change.add(fmt::format("--limits.{} {}MiB", name_of(short_tier), used[s].value / kMiB));
      } else if (short_tier == Tier::kStorage) {
        change.add(fmt::format("--limits.storage_path on a drive that leaves {} beyond the reserve",
                               format_bytes(used[s])));
      } else if (!limits.shared_ram) {
        change.add(fmt::format("on a machine with {} more of {} memory",
                               format_bytes(used[s] - limits.capacity[s]), name_of(short_tier)));
      }
    }
    if (limits.shared_ram && used[0] + used[1] > *limits.shared_ram) {
      change.limits.shared_ram = used[0] + used[1];
      change.add(fmt::format("on a machine with {} more RAM",
                             format_bytes(used[0] + used[1] - *limits.shared_ram)));
    }
    return change;
  };
  if (result.nearest) changes.push_back(enough(1));
  for (const Tier other : kTiers) {
    if (other == tier || !by_key(other)) continue;
    const Bytes by =
        round_up(std::max(limits.capacity[index_of(other)], infeasible.missing() * 2), Bytes{kMiB});
    TierLimits more = limits;
    more.capacity[index_of(other)] += by;
    changes.push_back({fmt::format("--limits.{} {}MiB", name_of(other),
                                   more.capacity[index_of(other)].value / kMiB),
                       same(model), request, more});
  }
  if (request.sequences.value_or(0) != 1) {
    Change change{"--train.micro_batch 1", same(model), request, limits};
    change.request.sequences = 1;
    if (request.global_batch % request.groups == 0) changes.push_back(std::move(change));
  }
  changes.push_back({"--optimizer.moments bf16 (changes the numbers)",
                     with_moments(model, DType::kBFloat16), request, limits});
  {
    Change change{"", same(model), request.with_free_placement(), limits};
    const auto set_free = [&](const auto& homes, const char* key) {
      const auto fixes = [](const std::optional<Tier>& home) { return home.has_value(); };
      if (std::ranges::any_of(homes, fixes)) change.add(fmt::format("--place.{} auto", key));
    };
    set_free(request.weights, "weights");
    set_free(request.gradients, "gradients");
    set_free(request.states, "optimizer");
    set_free(request.activations, "activations");
    if (request.adam_on_device) change.add("--place.adam auto");
    change.add("--place.recompute full --place.wave 1");
    change.request.recompute = true;
    change.request.wave = 1;
    changes.push_back(std::move(change));
  }
  int larger = 0;  // two at least, so that three of all fit
  for (const double factor : {1.5, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0}) {  // small ones round alike
    if (!result.nearest || (larger >= 2 && (!by_key(tier) || changes.size() > 6))) break;
    Change more = enough(factor);
    const bool known = std::any_of(changes.begin(), changes.end(),
                                   [&](const Change& c) { return c.text == more.text; });
    if (known) continue;
    changes.push_back(std::move(more));
    ++larger;
  }

  // All at once: a refusal of a large model shall not take seconds.
  std::vector<std::future<SearchResult>> tries;
  for (const Change& change : changes) {
    const bool nearest_alone = large && change.nearest_fits && &change == changes.data();
    tries.push_back(std::async(std::launch::async, [&change, &machine, nearest_alone] {
      if (nearest_alone) return SearchResult{};
      return search_placement(change.model, change.request, change.limits, machine, kRemedyBudget);
    }));
  }
  const double seconds = nearest_seconds.valid() ? nearest_seconds.get() : 0;
  double least = 0;  // seconds with the smallest of those that the nearest placement fits in
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Remedy remedy = remedy_of(changes[i], tries[i].get(), seconds);
    if (changes[i].nearest_fits) {
      remedy.gains_nothing = least > 0 && remedy.step_seconds > 0.98 * least;
      if (!remedy.gains_nothing) least = remedy.step_seconds;
    }
    infeasible.remedies.push_back(std::move(remedy));
  }
  order(infeasible.remedies);
  return infeasible;
}

}  // namespace sluice

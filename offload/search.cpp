// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "offload/builder.h"
#include "offload/placement_search.h"
#include "offload/plan.h"
#include "offload/remedies.h"
#include "offload/simulate.h"

namespace sluice {
namespace {

// Operations that may be built and simulated for one answer: keeps a plan of any
// size within seconds, and the same on every machine.
constexpr std::int64_t kBudget = 600'000;
// Of it, what may be spent without anything that fits: then the leanest placements decide
// whether there is more to look for, so that a refusal takes no longer than a plan.
constexpr std::int64_t kHopeless = 200'000;
// Left at least for the neighbours of the best.
constexpr std::int64_t kClimb = 150'000;
// The orders of a step that combinations() puts first: for a plan they are tried whatever they
// cost.
constexpr std::int64_t kOrders = 3;
// Operations of a Program beyond which none is made that need not be: somebody asked for tens of
// thousands of micro-batches.
constexpr std::int64_t kHuge = 300'000;

bool fits(const Program& program, const TierLimits& limits) {
  const auto missing = missing_bytes(program, limits);
  return std::all_of(missing.begin(), missing.end(), [](Bytes b) { return b.value <= 0; });
}

struct Best {
  Placement placement;
  double seconds = 0;
  std::int64_t operations = 0;  // of its Program
};

class Search {
 public:
  Search(const Model& model, const PlanRequest& request, const TierLimits& limits,
         const Machine& machine, std::int64_t budget)
      : model_(model),
        request_(request),
        limits_(limits),
        machine_(machine),
        budget_given_(budget),
        budget_(budget) {}

  SearchResult run() {
    const std::vector<Combination> all = combinations(model_, request_, limits_, machine_);
    const std::int64_t orders = budget_given_ < kBudget ? 0 : kOrders;
    // Each structure of a step once, then the other ways to spend memory on it: a model
    // that leaves room for a few tries shall not spend them all on one structure.
    for (const bool variants : {false, true}) {
      for (const Combination& c : all) {
        if (std::isinf(c.bound)) break;  // what is behind does not fit
        if (budget_ <= 0 && std::ssize(tried_) >= orders) break;
        if (best_ && c.bound >= best_->seconds) continue;
        if (c.variant == variants) consider(c);
        if (!best_ && !tried_leanest_ && budget_given_ - budget_ > kHopeless) {
          try_leanest(all);
          if (!best_) return result();
        }
      }
    }
    if (!best_) try_leanest(all);
    if (!best_) return result();
    climb();
    refine();
    return result();
  }

 private:
  SearchResult result() const {
    SearchResult result{.spent = budget_given_ - budget_};
    if (best_) {
      result.placement = best_->placement;
      result.step_seconds = best_->seconds;
      result.operations = best_->operations;
    }
    result.nearest = nearest_;
    result.nearest_missing = nearest_missing_;
    return result;
  }

  // A plan's search, unlike one for a remedy, goes on a little where its budget ends.
  bool has_patience() const { return budget_given_ >= kBudget && best_->operations <= kHuge; }

  // Whether it fits, and is not one that was tried before.
  bool consider(const Combination& c) {
    if (!tried_.insert(c.decisions()).second) return false;
    const Workload workload = model_.workload(c.sequences);
    const CostModel costs(machine_, workload);
    Fit fit = fill(workload, c, request_, limits_, costs);
    budget_ -= fit.operations_built;
    if (!fit.fits()) {
      remember_nearest(fit);
      return false;
    }
    if (try_program(fit.placement, fit.program, costs)) best_combination_ = c;
    return true;
  }

  // What the sizes and waves that were tried lie between: steps to a neighbour that is faster,
  // as long as there is one. The first found may be far from the best where little fits, and
  // its Program so large that a try costs more than is left: a plan makes a few all the same.
  void climb() {
    const int at_least = has_patience() ? 3 : 0;
    if (best_->operations <= kHuge) budget_ = std::max(budget_, std::min(kClimb, budget_given_));
    for (bool better = true; better;) {
      better = false;
      int tries = 0;
      for (const Combination& c : neighbours(best_combination_, request_, machine_)) {
        if (budget_ <= 0 && tries >= at_least) return;
        const double before = best_->seconds;
        if (consider(c)) ++tries;  // others cost little
        better = best_->seconds < before;
        if (better) break;
      }
    }
  }

  // Whether anything fits is not to depend on the budget, nor how good it is on which forms that
  // do not fit came first: placements with the least memory, those of large micro-batches first,
  // whose Programs are small and steps fast; in the end the smallest of all.
  void try_leanest(std::vector<Combination> all) {
    if (std::exchange(tried_leanest_, true)) return;
    std::erase_if(all, [](const Combination& c) { return !c.lean; });
    if (all.empty()) return;
    constexpr int kOfOneSize = 6;  // the fastest by their bounds
    const std::int64_t least = budget_ - std::min(kHopeless, budget_given_);
    std::stable_sort(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
      return a.sequences > b.sequences;
    });
    int of_this_size = 0;
    for (std::size_t i = 0; i < all.size() && budget_ > least; ++i) {
      of_this_size = i > 0 && all[i].sequences == all[i - 1].sequences ? of_this_size + 1 : 0;
      if (of_this_size >= kOfOneSize || std::isinf(all[i].bound) ||
          (best_ && all[i].bound >= best_->seconds)) {
        continue;
      }
      consider(all[i]);
    }
    if (best_) return;
    std::stable_sort(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
      return std::tuple(a.sequences, a.wave, !a.recompute) <
             std::tuple(b.sequences, b.wave, !b.recompute);
    });
    // A remedy is tried with a small budget, and there are several.
    const std::size_t most = budget_given_ < kBudget ? 1 : 3;
    for (std::size_t i = 0; i < std::min(most, all.size()) && !best_; ++i) {
      consider_largest(all[i]);
    }
  }

  // Of a combination that fits with this micro-batch, the largest micro-batch with which it does:
  // a Program of few calls, whose step is the fastest.
  void consider_largest(Combination c) {
    const Workload workload = model_.workload(c.sequences);
    if (may_fit(workload, c, request_, limits_, CostModel(machine_, workload))) {
      for (const std::int64_t sequences : micro_batch_sizes(request_)) {
        Combination larger = c;
        larger.sequences = sequences;
        if (sequences > c.sequences && larger.wave * sequences <= request_.global_batch) {
          consider(larger);
        }
        if (best_) return;
      }
    }
    consider(c);
  }

  // Whether it is the best so far.
  bool try_program(const Placement& placement, const Program& program, const CostModel& costs) {
    budget_ -= 2 * static_cast<std::int64_t>(program.operations.size());
    const double seconds =
        simulate(program, derive_waits(program), costs, {.serial = request_.serial, .warm_up = 1})
            .step_seconds;
    if (best_ && seconds >= best_->seconds * (1 - 1e-9)) return false;
    best_ = Best{placement, seconds, std::ssize(program.operations)};
    return true;
  }

  // Depths around the winner's: deeper is not always better. As in climb(), a plan makes a few.
  void refine() {
    int left = has_patience() ? 2 : 0;
    for (const int ahead : {1, 2, 3, 4}) {
      for (const int late : {0, 1, 2}) {
        if (request_.fetch_ahead.value_or(ahead) != ahead) continue;
        if (request_.drain_late.value_or(late) != late) continue;
        Placement p = best_->placement;
        if (p.fetch_ahead == ahead && p.drain_late == late) continue;
        if (budget_ <= 0 && left-- <= 0) return;
        p.fetch_ahead = ahead;
        p.drain_late = late;
        const Workload workload = model_.workload(p.sequences);
        const CostModel costs(machine_, workload);
        const Program program = build_training(workload, p, costs);
        budget_ -= static_cast<std::int64_t>(program.operations.size());
        if (!fits(program, limits_)) continue;
        try_program(p, program, costs);
      }
    }
  }

  void remember_nearest(const Fit& fit) {
    const auto over = [](const std::array<Bytes, kTierCount>& missing) {
      std::int64_t sum = 0;
      for (const Bytes b : missing) sum += std::max<std::int64_t>(0, b.value);
      return sum;
    };
    if (nearest_ && over(fit.missing) >= over(nearest_missing_)) return;
    nearest_ = fit.placement;
    nearest_missing_ = fit.missing;
  }

  const Model& model_;
  const PlanRequest& request_;
  const TierLimits& limits_;
  const Machine& machine_;
  std::int64_t budget_given_;
  std::int64_t budget_;
  bool tried_leanest_ = false;
  std::set<decltype(Combination{}.decisions())> tried_;
  std::optional<Best> best_;
  Combination best_combination_;
  std::optional<Placement> nearest_;
  std::array<Bytes, kTierCount> nearest_missing_{};
};

// What exact clipping costs, and what would make it faster: no clipping, no fixed homes, a larger
// batch, more memory.
void add_advice(Plan& plan, const Model& model, const PlanRequest& request,
                const TierLimits& limits, const Machine& machine) {
  const double step = plan.forecast.step_seconds;
  const auto faster = [&](double seconds, const std::string& change) {
    if (seconds > 0 && seconds < 0.98 * step) {
      plan.advice.push_back(fmt::format("{}: {} a step ({:.0f} % less)", change,
                                        format_seconds(Seconds{seconds}),
                                        100 * (1 - seconds / step)));
    }
  };
  const std::int64_t budget = kRemedyBudget;
  if (request.clips && plan.placement.deferred) {
    PlanRequest free = request;
    free.clips = false;
    free.deferred = std::nullopt;
    const SearchResult result = search_placement(model, free, limits, machine, budget);
    // The same placement without waiting for the norm is one answer, found or not.
    Placement same = plan.placement;
    same.deferred = false;
    const CostModel costs(machine, plan.workload);
    const Program program = build_training(plan.workload, same, costs);
    double seconds = result.placement ? result.step_seconds : step;
    if (fits(program, limits)) {
      seconds = std::min(seconds, simulate(program, derive_waits(program), costs,
                                           {.serial = request.serial, .warm_up = 1})
                                      .step_seconds);
    }
    plan.clip_cost_seconds = std::max(0.0, step - seconds);
    faster(seconds, "--train.clip 0");
  }
  if (request.fixes_placement()) {
    faster(search_placement(model, request.with_free_placement(), limits, machine, budget)
               .step_seconds,
           "--place keys left at auto");
  }
  // Twice the micro-batches in a step: Adam and its transfers are made half as often.
  Model larger;
  larger.workload = [&](std::int64_t sequences) {
    Workload workload = model.workload(sequences);
    workload.micro_batches *= 2;
    return workload;
  };
  PlanRequest twice = request;
  twice.global_batch *= 2;
  twice.sequences = plan.placement.sequences;
  const double half = search_placement(larger, twice, limits, machine, budget).step_seconds / 2;
  if (half > 0 && half < 0.98 * step) {
    plan.advice.push_back(fmt::format("--train.global_batch {}: {:.0f} % more tokens/s",
                                      twice.global_batch, 100 * (step / half - 1)));
  }
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    if (limits.shared_ram && tier == Tier::kHost) continue;
    const Bytes there = tier == Tier::kDevice ? machine.device_capacity : machine.host_capacity;
    if (limits.capacity[index_of(tier)] * 2 > there) continue;  // nobody could follow it
    TierLimits more = limits;
    more.capacity[index_of(tier)] = limits.capacity[index_of(tier)] * 2;
    if (more.shared_ram) more.shared_ram = *more.shared_ram * 2;
    faster(
        search_placement(model, request, more, machine, budget).step_seconds,
        fmt::format("--limits.{} {}MiB", name_of(tier), more.capacity[index_of(tier)].value >> 20));
  }
}

}  // namespace

SearchResult search_placement(const Model& model, const PlanRequest& request,
                              const TierLimits& limits, const Machine& machine,
                              std::int64_t budget) {
  return Search(model, request, limits, machine, budget).run();
}

PlanResult make_plan(const Model& model, const PlanRequest& request, const TierLimits& limits,
                     const Machine& machine) {
  SearchResult result = search_placement(model, request, limits, machine, kBudget);
  // Where not everything could be tried, a search that begins elsewhere may end better; and a
  // plan keeps what a remedy promised.
  if (result.placement && result.spent >= kBudget && result.operations <= kHuge) {
    SearchResult other = search_placement(model, request, limits, machine, kRemedyBudget);
    if (other.placement && other.step_seconds < result.step_seconds) result = std::move(other);
  }
  if (!result.placement) return explain(model, request, limits, machine, result);
  Plan plan = build_plan(model, *result.placement, limits, machine, request.serial);
  if (result.operations <= kHuge) add_advice(plan, model, request, limits, machine);
  return plan;
}

}  // namespace sluice

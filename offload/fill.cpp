// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <optional>

#include "offload/builder.h"
#include "offload/check.h"
#include "offload/operands.h"
#include "offload/placement_search.h"

namespace sluice {
namespace {

constexpr std::int64_t kLargestSegment = 4 << 20;  // parameters: 48 MiB of fp32 state
constexpr std::int64_t kSmallestSegment = 64 << 10;
constexpr std::int64_t kLeanSegment = 8 << 10;
constexpr int kRounds = 4;

std::optional<Tier> fixed(const std::vector<std::optional<Tier>>& request, std::size_t index) {
  return index < request.size() ? request[index] : std::nullopt;
}

// How much memory a flat parameter takes in one role.
struct FlatBytes {
  std::int64_t weight, gradient, state;
};

class Filler {
 public:
  Filler(const Workload& workload, const Combination& combination, const PlanRequest& request,
         const TierLimits& limits, const CostModel& costs)
      : workload_(workload),
        combination_(combination),
        request_(request),
        limits_(limits),
        costs_(costs) {}

  Fit built(const Placement& placement) {
    Fit fit{.placement = placement, .program = build_training(workload_, placement, costs_)};
    built_ += static_cast<std::int64_t>(fit.program.operations.size());
    fit.operations_built = built_;
    fit.missing = missing_bytes(fit.program, limits_);
    return fit;
  }

  Fit run() {
    Placement placement = lowest();
    Fit fit = built(placement);
    // Weights may go below the host too.
    if (fit.missing[index_of(Tier::kHost)].value > 0 && has_storage()) {
      for (std::size_t f = 0; f < flats(); ++f) {
        if (!fixed(request_.weights, f)) placement.weights[f] = Tier::kStorage;
        if (!fixed(request_.gradients, f) && placement.gradients[f] == Tier::kHost) {
          placement.gradients[f] = Tier::kStorage;
        }
      }
      fit = built(placement);
    }
    fit = raised(std::move(fit));
    // Slots of streamed state may need more memory than the state itself.
    if (!fit.fits() && may_be_resident()) {
      Fit resident = built(all_resident(placement));
      if (resident.fits()) fit = raised(std::move(resident));
    }
    fit.operations_built = built_;
    return fit;
  }

 private:
  std::size_t flats() const { return workload_.flats.size(); }
  bool has_storage() const { return limits_.capacity[index_of(Tier::kStorage)].value > 0; }

  FlatBytes bytes_of_flat(std::size_t f) const {
    const std::int64_t count = workload_.flats[f].count;
    const std::int64_t rounded =
        workload_.gradient == DType::kFloat32 ? 0 : size_of(workload_.gradient) * count;
    return {.weight = size_of(workload_.compute) * count,
            .gradient = 4 * count + rounded,
            .state = segment_layout(count, workload_.moments).size.value};
  }

  Placement lowest() const {
    const Combination& c = combination_;
    Placement p = resident_placement(workload_, c.deferred);
    const Tier low = has_storage() ? Tier::kStorage : Tier::kHost;
    for (std::size_t f = 0; f < flats(); ++f) {
      p.weights[f] = fixed(request_.weights, f).value_or(Tier::kHost);
      p.gradients[f] = fixed(request_.gradients, f).value_or(c.gradients);
      p.states[f] = fixed(request_.states, f).value_or(low);
      p.adam_on_device[f] = adam_at(p.states[f]);
    }
    for (std::size_t l = 0; l < workload_.layers.size(); ++l) {
      p.activations[l] = fixed(request_.activations, l).value_or(c.activations);
      p.recompute[l] = c.recompute;
    }
    std::int64_t largest = 0;
    for (const FlatParameter& flat : workload_.flats) largest = std::max(largest, flat.count);
    p.sequences = c.sequences;
    p.wave = c.wave;
    p.fetch_ahead = request_.fetch_ahead.value_or(c.lean ? 1 : 2);
    p.drain_late = request_.drain_late.value_or(c.lean ? 0 : 1);
    p.ring_slots = c.lean ? 3 : 4;
    p.reuse_gradients = c.lean;
    p.segment_elements = std::clamp(largest / (c.lean ? 16 : 4),
                                    c.lean ? kLeanSegment : kSmallestSegment, kLargestSegment);
    // A Program stays small however large the model is.
    std::int64_t total = 0;
    for (const FlatParameter& flat : workload_.flats) total += flat.count;
    p.segment_elements = std::max(p.segment_elements, total / 2048);
    p.segment_elements = request_.segment
                             ? segment_elements_of(*request_.segment, workload_.moments)
                             : round_up(p.segment_elements, std::int64_t{2048});
    p.digest = request_.digest;
    p.save = request_.save;
    return p;
  }

  // Whether the device holds the model at all, which is known without building anything.
  bool may_be_resident() const {
    std::int64_t total = 0;
    for (std::size_t f = 0; f < flats(); ++f) {
      const FlatBytes bytes = bytes_of_flat(f);
      if (fixed(request_.weights, f).value_or(Tier::kDevice) == Tier::kDevice) {
        total += bytes.weight;
      }
      if (fixed(request_.gradients, f).value_or(Tier::kDevice) == Tier::kDevice) {
        total += bytes.gradient;
      }
      if (fixed(request_.states, f).value_or(Tier::kDevice) == Tier::kDevice) total += bytes.state;
    }
    const Bytes capacity = limits_.capacity[index_of(Tier::kDevice)];
    return total <= std::min(capacity, limits_.shared_ram.value_or(capacity)).value;
  }

  Placement all_resident(Placement p) const {
    for (std::size_t f = 0; f < flats(); ++f) {
      p.weights[f] = fixed(request_.weights, f).value_or(Tier::kDevice);
      p.gradients[f] = fixed(request_.gradients, f).value_or(Tier::kDevice);
      p.states[f] = fixed(request_.states, f).value_or(Tier::kDevice);
      p.adam_on_device[f] = adam_at(p.states[f]);
    }
    return p;
  }

  bool adam_at(Tier state) const {
    if (request_.adam_on_device) return *request_.adam_on_device;
    return state == Tier::kDevice || combination_.stream_state;
  }

  static bool has_memory(const Fit& fit) {
    return fit.missing[index_of(Tier::kDevice)].value <= 0 &&
           fit.missing[index_of(Tier::kHost)].value <= 0;
  }

  // With all that device and host have room for moved up, which a storage that is too small
  // may need.
  Fit raised(Fit fit) {
    for (int round = 0; round < kRounds && has_memory(fit); ++round) {
      const Placement better = upgraded(fit);
      if (better == fit.placement) break;
      Fit next = built(better);
      if (!has_memory(next)) break;
      fit = std::move(next);
    }
    return fit;
  }

  // What one round may move up: the free bytes of device and host.
  struct Free {
    std::int64_t device, host;
    std::int64_t shared;  // of both together
    bool take(std::int64_t on_device, std::int64_t on_host) {
      if (on_device > device || on_host > host || on_device + on_host > shared) return false;
      device -= on_device;
      host -= on_host;
      shared -= on_device + on_host;
      return true;
    }
  };

  Placement upgraded(const Fit& fit) const {
    const auto left = [&](Tier tier) {
      return (limits_.capacity[index_of(tier)] - fit.program.needs(tier)).value;
    };
    Free free{.device = left(Tier::kDevice), .host = left(Tier::kHost), .shared = 0};
    free.shared = limits_.shared_ram ? (*limits_.shared_ram - fit.program.needs(Tier::kDevice) -
                                        fit.program.needs(Tier::kHost))
                                           .value
                                     : free.device + free.host;
    Placement p = fit.placement;
    using Residency = Combination::Residency;
    if (combination_.residency == Residency::kStateFirst) make_resident(p, free);
    for (std::size_t f = 0; f < flats(); ++f) raise_weight(p, free, f, Tier::kDevice);
    for (std::size_t f = 0; f < flats(); ++f) raise_weight(p, free, f, Tier::kHost);
    if (combination_.residency == Residency::kWeightsThenState) make_resident(p, free);
    if (!combination_.state_before_gradients) raise_gradients(p, free);
    for (std::size_t f = 0; f < flats(); ++f) {
      if (p.states[f] != Tier::kStorage || fixed(request_.states, f)) continue;
      if (free.take(0, bytes_of_flat(f).state)) p.states[f] = Tier::kHost;
    }
    raise_gradients(p, free);
    return p;
  }

  void raise_weight(Placement& p, Free& free, std::size_t f, Tier to) const {
    if (p.weights[f] <= to || fixed(request_.weights, f)) return;
    const std::int64_t size = bytes_of_flat(f).weight;
    const bool taken = to == Tier::kDevice ? free.take(size, 0) : free.take(0, size);
    if (taken) p.weights[f] = to;
  }

  void raise_gradients(Placement& p, Free& free) const {
    for (std::size_t f = 0; f < flats(); ++f) {
      if (p.gradients[f] != Tier::kStorage || fixed(request_.gradients, f)) continue;
      if (free.take(0, bytes_of_flat(f).gradient)) p.gradients[f] = Tier::kHost;
    }
  }

  // Whole flat parameters, state and all, in the order of forward.
  void make_resident(Placement& p, Free& free) const {
    for (std::size_t f = 0; f < flats(); ++f) {
      if (p.states[f] == Tier::kDevice || fixed(request_.states, f) ||
          (request_.adam_on_device && !*request_.adam_on_device)) {
        continue;
      }
      const FlatBytes bytes = bytes_of_flat(f);
      const bool weight = p.weights[f] != Tier::kDevice && !fixed(request_.weights, f);
      const bool gradient = p.gradients[f] != Tier::kDevice && !fixed(request_.gradients, f);
      if (!free.take(bytes.state + (weight ? bytes.weight : 0) + (gradient ? bytes.gradient : 0),
                     0)) {
        return;
      }
      if (weight) p.weights[f] = Tier::kDevice;
      if (gradient) p.gradients[f] = Tier::kDevice;
      p.states[f] = Tier::kDevice;
      p.adam_on_device[f] = true;
    }
  }

  const Workload& workload_;
  const Combination& combination_;
  const PlanRequest& request_;
  const TierLimits& limits_;
  const CostModel& costs_;
  std::int64_t built_ = 0;
};

// What a Program takes of memory shows in its first wave, two that follow each other, and the
// last: one of hundreds of micro-batches need not be built to see that it does not fit, nor to
// find homes that do.
std::optional<Workload> with_few_waves(const Workload& workload, int wave) {
  constexpr int kFew = 4, kMany = 16;
  const int micro_batches = kFew * wave;
  if (workload.groups > 1 || workload.micro_batches < std::max(kMany, 2 * micro_batches)) return {};
  Workload few = workload;
  few.micro_batches = micro_batches;
  return few;
}

// Without what the batch of the other micro-batches takes (builder.cpp).
TierLimits limits_of_few(const TierLimits& limits, const Workload& whole, const Workload& few) {
  const Bytes batch = batch_layout(whole).size() - batch_layout(few).size();
  TierLimits less = limits;
  const auto take = [](Bytes& limit, Bytes size) { limit = std::max(Bytes{0}, limit - size); };
  take(less.capacity[index_of(Tier::kDevice)], batch * 2);
  take(less.capacity[index_of(Tier::kHost)], batch);
  if (less.shared_ram) take(*less.shared_ram, batch * 3);
  return less;
}

// The homes that a few waves allow, where there are many.
std::optional<Fit> fill_few(const Workload& workload, const Combination& combination,
                            const PlanRequest& request, const TierLimits& limits,
                            const CostModel& costs) {
  const std::optional<Workload> few = with_few_waves(workload, combination.wave);
  if (!few) return {};
  const TierLimits less = limits_of_few(limits, workload, *few);
  return Filler(*few, combination, request, less, costs).run();
}

// By more than a few waves and all of them may differ.
bool is_short(const Fit& few) {
  constexpr Bytes kSameMemory{1 << 20};
  return *std::max_element(few.missing.begin(), few.missing.end()) > kSameMemory;
}

}  // namespace

std::int64_t segment_elements_of(Bytes asked, DType moments) {
  const std::int64_t each = 4 + 2 * size_of(moments);
  return round_up(std::max<std::int64_t>(2048, asked.value / each), std::int64_t{2048});
}

std::array<Bytes, kTierCount> missing_bytes(const Program& program, const TierLimits& limits) {
  std::array<Bytes, kTierCount> missing;
  for (const Tier tier : kTiers) {
    missing[index_of(tier)] = program.needs(tier) - limits.capacity[index_of(tier)];
  }
  if (limits.shared_ram) {
    const Bytes both = program.needs(Tier::kDevice) + program.needs(Tier::kHost);
    missing[1] = std::max(missing[1], both - *limits.shared_ram);
  }
  return missing;
}

Fit fill(const Workload& workload, const Combination& combination, const PlanRequest& request,
         const TierLimits& limits, const CostModel& costs) {
  const std::optional<Fit> few = fill_few(workload, combination, request, limits, costs);
  if (few && is_short(*few)) return *few;
  Filler whole(workload, combination, request, limits, costs);
  Fit fit = few && few->fits() ? whole.built(few->placement) : whole.run();
  if (few && few->fits() && !fit.fits()) fit = whole.run();
  if (few) fit.operations_built += few->operations_built;
  return fit;
}

bool may_fit(const Workload& workload, const Combination& combination, const PlanRequest& request,
             const TierLimits& limits, const CostModel& costs) {
  const std::optional<Fit> few = fill_few(workload, combination, request, limits, costs);
  return !few || !is_short(*few);
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "offload/placement_search.h"

namespace sluice {
namespace {

template <typename T>
std::vector<T> choices(const std::optional<T>& fixed, std::vector<T> all) {
  return fixed ? std::vector<T>{*fixed} : all;
}

// A few sizes over the whole range, both ends included.
std::vector<std::int64_t> some_of(const std::vector<std::int64_t>& sizes) {
  constexpr std::size_t kMost = 5;
  if (sizes.size() <= kMost) return sizes;
  std::vector<std::int64_t> some;
  for (std::size_t i = 0; i < kMost; ++i) {
    some.push_back(sizes[i * (sizes.size() - 1) / (kMost - 1)]);
  }
  return some;
}

std::vector<int> waves(const PlanRequest& request, int micro_batches) {
  if (request.wave) return {wave_of(*request.wave, micro_batches)};
  std::vector<int> all = {micro_batches};
  for (int wave = micro_batches / 4; wave > 1; wave /= 4) all.push_back(wave);
  if (micro_batches > 1) all.push_back(1);
  return all;
}

// Sums over the layers of one combination, per micro-batch or once.
struct Totals {
  double forward = 0, backward = 0;  // seconds of a micro-batch
  double kept = 0;                   // bytes of a micro-batch between forward and backward
  double weights = 0, gradients = 0, states = 0;  // bytes
  double parameters = 0;
};

Totals totals_of(const Workload& workload, const Combination& c, const CostModel& costs) {
  Totals t;
  for (std::size_t l = 0; l < workload.layers.size(); ++l) {
    const LayerSpec& layer = workload.layers[l];
    const bool head = l + 1 == workload.layers.size();
    const int index = static_cast<int>(l);
    t.backward += costs.backward(index);
    if (head) continue;
    t.forward += costs.forward(index);
    if (c.recompute && layer.saved.value > 0) t.backward += costs.recompute(index);
    t.kept += static_cast<double>(layer.input.value + (c.recompute ? 0 : layer.saved.value));
  }
  for (const FlatParameter& flat : workload.flats) {
    const auto count = static_cast<double>(flat.count);
    t.parameters += count;
    t.weights += count * static_cast<double>(size_of(workload.compute));
    t.gradients += count * static_cast<double>(size_of(workload.gradient));
    t.states += count * static_cast<double>(4 + 2 * size_of(workload.moments));
  }
  return t;
}

// What one backward call needs on the device at least.
struct WorkingSet {
  double scratch = 0;  // its own, and the gradients of the wave's layer inputs
  double layer = 0;    // with the weights and sums of the layer, resident or not
};

WorkingSet working_set(const Workload& workload, const Combination& c) {
  WorkingSet most;
  for (const LayerSpec& layer : workload.layers) {
    const double scratch = static_cast<double>(layer.backward_workspace.value) +
                           static_cast<double>(layer.input.value) * c.wave;
    double bytes = scratch;
    for (const int flat : layer.flats) {
      bytes += static_cast<double>(workload.flats[static_cast<std::size_t>(flat)].count) *
               (4 + static_cast<double>(size_of(workload.compute)));
    }
    most.scratch = std::max(most.scratch, scratch);
    most.layer = std::max(most.layer, bytes);
  }
  return most;
}

// Optimistic: memory holds weights first, then state, and no slots; only what
// cannot be there moves; everything overlaps. Infinite where it cannot fit.
double bound_of(const Workload& workload, const Combination& c, const TierLimits& limits,
                const CostModel& costs) {
  const Totals t = totals_of(workload, c, costs);
  const Machine& machine = costs.machine();
  const double micro_batches = workload.micro_batches;
  const double waves = static_cast<double>(divide_up(workload.micro_batches, c.wave));
  const double kept_wave = t.kept * c.wave;
  std::array<double, kTierCount> room{};
  for (const Tier tier : kTiers) {
    room[index_of(tier)] = static_cast<double>(limits.capacity[index_of(tier)].value);
  }
  double memory = room[0] + room[1];
  if (limits.shared_ram) {
    const auto shared = static_cast<double>(limits.shared_ram->value);
    room[1] = std::min(room[1], shared);
    memory = std::min(memory, shared);
  }
  if (memory + room[2] < t.weights + t.states) return std::numeric_limits<double>::infinity();
  room[index_of(c.activations)] -= kept_wave;
  const WorkingSet working = working_set(workload, c);
  if (room[index_of(c.activations)] < 0 || room[0] < working.layer) {
    return std::numeric_limits<double>::infinity();
  }
  room[0] -= working.scratch;
  // Sums of layers that are not resident travel once per wave more than gradients do.
  const double resident = std::min(1.0, room[0] / (t.weights + 4 * t.parameters + t.states));
  const double sums =
      c.gradients == Tier::kDevice ? 0 : (waves - 1) * 4 * t.parameters * (1 - resident);

  const auto place = [&](double bytes, Tier tier) {  // returns what is left over
    const double taken = std::min(bytes, room[index_of(tier)]);
    room[index_of(tier)] -= taken;
    return bytes - taken;
  };
  const double weights_off = place(t.weights, Tier::kDevice);
  const double weights_stored = place(weights_off, Tier::kHost);
  const double states_off = place(t.states, Tier::kDevice);
  const double gradients_off = t.gradients * states_off / t.states;
  // Between waves sums are parked in fp32.
  const double parked = waves > 1 ? 4 * t.parameters * (1 - resident) : gradients_off;
  const double gradients_stored =
      c.gradients == Tier::kDevice ? 0 : place(parked, Tier::kHost) * waves;
  const double states_stored = place(states_off, Tier::kHost);

  const double offloaded = c.activations == Tier::kDevice ? 0 : t.kept * micro_batches;
  const double stored = c.activations == Tier::kStorage ? offloaded : 0;
  // Phase by phase, as in phase_bound.h: what forward saves goes up and out while it runs,
  // and comes back while backward does.
  const double down_rate = machine.host_to_device.value, up_rate = machine.device_to_host.value;
  const double read_rate = machine.storage_read.value, write_rate = machine.storage_write.value;
  const double fetched = waves * weights_off / down_rate;
  const double read = waves * weights_stored / read_rate;
  const double forward = t.forward * micro_batches;
  const double backward = t.backward * micro_batches;
  const double adam =
      costs.update(static_cast<std::int64_t>(t.parameters * states_off / t.states), false);
  const double update =
      std::max({adam, states_stored / read_rate, (weights_stored + states_stored) / write_rate});
  const double forward_phase =
      std::max({forward, offloaded / up_rate, fetched, read, stored / write_rate});
  const double backward_phase =
      std::max({backward, fetched + (offloaded + sums) / down_rate,
                (gradients_off + sums) / up_rate, read + stored / read_rate});
  const double disk_in = 2 * read + (states_stored + gradients_stored + stored) / read_rate;
  const double disk_out = (weights_stored + states_stored + gradients_stored + stored) / write_rate;
  const double phases = c.deferred
                            ? backward_phase + std::max(forward_phase, update + stored / write_rate)
                            : std::max(forward_phase + backward_phase, update);
  return std::max({phases, disk_in, disk_out});
}

}  // namespace

int wave_of(int asked, int micro_batches) {
  return asked == 0 ? micro_batches : std::min(asked, micro_batches);
}

std::vector<std::int64_t> micro_batch_sizes(const PlanRequest& request) {
  if (request.sequences) return {*request.sequences};
  std::vector<std::int64_t> sizes;
  for (std::int64_t s = request.global_batch; s >= 1; --s) {
    if (request.global_batch % s != 0) continue;
    // More micro-batches make Programs that take minutes to plan; who wants them asks.
    constexpr std::int64_t kMostMicroBatches = 2048;
    if (!sizes.empty() && request.global_batch / s > kMostMicroBatches) break;
    if ((request.global_batch / s) % request.groups == 0) sizes.push_back(s);
  }
  return sizes;
}

namespace {

// Rules for some layers leave the others free.
bool fixes_activations(const PlanRequest& request) {
  return !request.activations.empty() &&
         std::all_of(request.activations.begin(), request.activations.end(),
                     [](const std::optional<Tier>& tier) { return tier.has_value(); });
}

// Adam on the device for state that lives below it: never where both compute on the same cores.
bool may_stream(const PlanRequest& request, const Machine& machine) {
  return machine.device != "host" && !request.adam_on_device;
}

}  // namespace

std::vector<Combination> combinations(const Model& model, const PlanRequest& request,
                                      const TierLimits& limits, const Machine& machine) {
  using Residency = Combination::Residency;
  constexpr std::array kResidencies = {Residency::kWeightsThenState, Residency::kStateFirst,
                                       Residency::kWeights};
  const bool storage = limits.capacity[index_of(Tier::kStorage)].value > 0;
  std::vector<Tier> keeps = {Tier::kDevice, Tier::kHost};
  if (storage) keeps.push_back(Tier::kStorage);
  if (fixes_activations(request)) keeps = {*request.activations[0]};
  std::vector<bool> streams = {false};
  if (may_stream(request, machine)) streams.push_back(true);
  std::vector<bool> timings = {true};
  if (request.deferred) {
    timings = {*request.deferred};
  } else if (!request.clips) {
    timings = {false, true};
  }
  std::vector<Combination> all;
  for (const std::int64_t sequences : some_of(micro_batch_sizes(request))) {
    const Workload workload = model.workload(sequences);
    const CostModel costs(machine, workload);
    for (const int wave : waves(request, workload.micro_batches)) {
      for (const bool recompute : choices<bool>(request.recompute, {false, true})) {
        for (const Tier keep : keeps) {
          for (const bool deferred : timings) {
            for (const bool lean : {false, true}) {
              for (const Tier gradients : {Tier::kHost, Tier::kDevice}) {
                if (lean && gradients == Tier::kDevice) continue;
                for (const Residency residency : kResidencies) {
                  for (const bool stream : streams) {
                    if (lean && (residency != Residency::kWeightsThenState || stream)) continue;
                    Combination c{.sequences = sequences,
                                  .wave = wave,
                                  .recompute = recompute,
                                  .activations = keep,
                                  .deferred = deferred,
                                  .gradients = gradients,
                                  .residency = residency,
                                  .stream_state = stream,
                                  .lean = lean,
                                  .variant = gradients != Tier::kHost || stream ||
                                             residency != Residency::kWeightsThenState};
                    c.bound = bound_of(workload, c, limits, costs);
                    all.push_back(c);
                  }
                }
              }
            }
          }
        }
      }
    }
  }
  // What is within 3 % counts as equal: then the larger micro-batch goes first, whose
  // Program is smaller.
  const auto rank = [](const Combination& c) {
    return std::tuple(std::floor(std::log(c.bound) / std::log(1.03)), c.lean);
  };
  std::stable_sort(all.begin(), all.end(),
                   [&](const Combination& a, const Combination& b) { return rank(a) < rank(b); });
  // The bound knows each order of a step only roughly: of every order that may win, the
  // best goes first.
  const double may_win = all.empty() ? 0 : 1.15 * all.front().bound;
  std::set<std::pair<int, bool>> tried;
  std::stable_partition(all.begin(), all.end(), [&](const Combination& c) {
    const int micro_batches = static_cast<int>(request.global_batch / c.sequences);
    const int order = c.wave == micro_batches ? 2 : c.wave == 1 ? 0 : 1;
    return !c.lean && !c.variant && c.bound < may_win && tried.emplace(order, c.recompute).second;
  });
  return all;
}

std::vector<Combination> neighbours(const Combination& combination, const PlanRequest& request,
                                    const Machine& machine) {
  std::vector<Combination> all;
  const auto add = [&](std::int64_t sequences, int wave, bool lean) {
    const int micro_batches = static_cast<int>(request.global_batch / sequences);
    Combination c = combination;
    c.sequences = sequences;
    c.wave = request.wave ? wave_of(*request.wave, micro_batches) : std::min(wave, micro_batches);
    c.lean = lean;
    all.push_back(c);
  };
  const auto add_with = [&](auto change) { change(all.emplace_back(combination)); };
  add_with([](Combination& c) { c.state_before_gradients = !c.state_before_gradients; });
  const int wave = combination.wave;
  const std::vector<std::int64_t> sizes = micro_batch_sizes(request);
  const auto here = std::find(sizes.begin(), sizes.end(), combination.sequences);
  const bool larger = here != sizes.begin() && here != sizes.end();
  const bool smaller = here != sizes.end() && here + 1 != sizes.end();
  if (larger) add(here[-1], wave, combination.lean);
  // What slots leave free is room for a larger one.
  if (larger && !combination.lean) add(here[-1], wave, true);
  if (!request.wave) add(combination.sequences, wave * 2, combination.lean);
  // As many tokens in a wave.
  if (smaller && !request.wave) add(here[1], wave * 2, combination.lean);
  if (larger && wave > 1 && !request.wave) add(here[-1], wave / 2, combination.lean);
  if (wave > 1 && !request.wave) add(combination.sequences, wave / 2, combination.lean);
  if (smaller) add(here[1], wave, combination.lean);
  for (const Tier tier : kTiers) {
    if (tier == combination.activations || fixes_activations(request)) continue;
    add_with([&](Combination& c) { c.activations = tier; });
  }
  add(combination.sequences, wave, !combination.lean);
  if (may_stream(request, machine)) {
    add_with([](Combination& c) { c.stream_state = !c.stream_state; });
  }
  using Residency = Combination::Residency;
  for (const Residency residency :
       {Residency::kWeightsThenState, Residency::kStateFirst, Residency::kWeights}) {
    if (residency == combination.residency) continue;
    add_with([&](Combination& c) { c.residency = residency; });
  }
  if (!request.recompute) add_with([](Combination& c) { c.recompute = !c.recompute; });
  return all;
}

}  // namespace sluice

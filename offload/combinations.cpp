// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <tuple>

#include "offload/placement_search.h"

namespace sluice {
namespace {

template <typename T>
std::vector<T> choices(const std::optional<T>& fixed, std::vector<T> all) {
  return fixed ? std::vector<T>{*fixed} : all;
}

// Divisors of the global batch that leave micro-batches for every group; the
// largest ones, since a large micro-batch computes fastest.
std::vector<std::int64_t> micro_batch_sizes(const PlanRequest& request) {
  if (request.sequences) return {*request.sequences};
  std::vector<std::int64_t> sizes;
  for (std::int64_t s = request.global_batch; s >= 1; --s) {
    if (request.global_batch % s != 0) continue;
    if ((request.global_batch / s) % request.groups == 0) sizes.push_back(s);
  }
  // A few sizes over the whole range, both ends included.
  constexpr std::size_t kMost = 5;
  if (sizes.size() <= kMost) return sizes;
  std::vector<std::int64_t> some;
  for (std::size_t i = 0; i < kMost; ++i) {
    some.push_back(sizes[i * (sizes.size() - 1) / (kMost - 1)]);
  }
  return some;
}

std::vector<int> waves(const PlanRequest& request, int micro_batches) {
  if (request.wave) {
    return {*request.wave == 0 ? micro_batches : std::min(*request.wave, micro_batches)};
  }
  std::vector<int> all = {micro_batches};
  for (int wave = micro_batches / 4; wave > 1; wave /= 4) all.push_back(wave);
  if (micro_batches > 1) all.push_back(1);
  return all;
}

// Optimistic: every byte of the device holds weights first, then state; only what
// cannot be there crosses the link; everything overlaps.
double bound_of(const Workload& workload, const Combination& c, const TierLimits& limits,
                const CostModel& costs) {
  const double micro_batches = workload.micro_batches;
  double compute = 0, kept = 0;
  for (std::size_t l = 0; l < workload.layers.size(); ++l) {
    const LayerSpec& layer = workload.layers[l];
    const bool head = l + 1 == workload.layers.size();
    const double forward = costs.forward(static_cast<int>(l));
    compute += costs.backward(static_cast<int>(l)) + (head ? 0 : forward);
    if (c.recompute && !head && layer.saved.value > 0) compute += forward;
    if (!head) {
      kept += static_cast<double>(layer.input.value + (c.recompute ? 0 : layer.saved.value));
    }
  }
  compute *= micro_batches;
  double weights = 0;
  for (const FlatParameter& flat : workload.flats) {
    weights += static_cast<double>(size_of(workload.compute) * flat.count);
  }
  const double on_device =
      std::max(0.0, static_cast<double>(limits.capacity[0].value) -
                        (c.activations == Tier::kDevice ? kept * c.wave : 0.0));
  const double passes = 2.0 * static_cast<double>(divide_up(workload.micro_batches, c.wave));
  const double down = std::max(0.0, weights - on_device) * passes +
                      (c.activations == Tier::kDevice ? 0.0 : kept * micro_batches);
  const double rate = costs.machine().host_to_device.value;
  return std::max(compute, down / rate);
}

}  // namespace

std::vector<Combination> combinations(const Model& model, const PlanRequest& request,
                                      const TierLimits& limits, const Machine& machine) {
  const bool storage = limits.capacity[index_of(Tier::kStorage)].value > 0;
  std::vector<Tier> keeps = {Tier::kDevice, Tier::kHost};
  if (storage) keeps.push_back(Tier::kStorage);
  const bool fixed_activations = !request.activations.empty() && request.activations[0];
  if (fixed_activations) keeps = {*request.activations[0]};
  // Adam on the device for state that lives below it: never where both compute on
  // the same cores.
  std::vector<bool> streams = {false};
  if (machine.device != "host" && !request.adam_on_device) streams.push_back(true);
  std::vector<bool> timings = {true};
  if (request.deferred) {
    timings = {*request.deferred};
  } else if (!request.clips) {
    timings = {false, true};
  }
  std::vector<Combination> all;
  for (const std::int64_t sequences : micro_batch_sizes(request)) {
    const Workload workload = model.workload(sequences);
    const CostModel costs(machine, workload);
    for (const int wave : waves(request, workload.micro_batches)) {
      for (const bool recompute : choices<bool>(request.recompute, {false, true})) {
        for (const Tier keep : keeps) {
          for (const bool deferred : timings) {
            for (const bool lean : {false, true}) {
              for (const Tier gradients : {Tier::kHost, Tier::kDevice}) {
                if (lean && gradients == Tier::kDevice) continue;
                for (const bool first : {false, true}) {
                  for (const bool stream : streams) {
                    if (lean && (first || stream)) continue;
                    Combination c{.sequences = sequences,
                                  .wave = wave,
                                  .recompute = recompute,
                                  .activations = keep,
                                  .deferred = deferred,
                                  .gradients = gradients,
                                  .resident_first = first,
                                  .stream_state = stream,
                                  .lean = lean};
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
  std::stable_sort(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
    return std::tie(a.bound, a.lean) < std::tie(b.bound, b.lean);
  });
  return all;
}

}  // namespace sluice

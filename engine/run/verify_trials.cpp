// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/verify_trials.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <tuple>

#include "engine/run/verify_rows.h"
#include "offload/builder.h"
#include "offload/check.h"

namespace sluice {
namespace {

struct Fetch {
  int ahead;
  std::int64_t segment_elements;
  bool reuse_gradients;  // as the leanest plans do
};
constexpr std::array<Fetch, 3> kFetches = {
    {{1, 1 << 16, true}, {2, 1 << 18, false}, {4, 1 << 18, false}}};
constexpr std::array<int, 3> kDrains = {0, 1, 3};

std::vector<int> waves_of(const Workload& workload) {
  std::vector<int> waves = {1};
  if (workload.micro_batches > 2) waves.push_back(workload.micro_batches / 2);
  if (workload.micro_batches > 1) waves.push_back(workload.micro_batches);
  return waves;
}

Trial trial_of(const Row& row, const Workload& workload, const TrialChoices& choices) {
  Trial trial;
  Placement& p = trial.placement;
  p = resident_placement(workload, choices.deferred[row[7]]);
  const auto tier = [](std::size_t choice) { return static_cast<Tier>(choice); };
  p.weights.assign(p.weights.size(), tier(row[0]));
  p.gradients.assign(p.gradients.size(), tier(row[1]));
  p.states.assign(p.states.size(), tier(row[2]));
  p.activations.assign(p.activations.size(), tier(row[3]));
  p.adam_on_device.assign(p.adam_on_device.size(), row[4] == 1);
  p.recompute.assign(p.recompute.size(), row[5] == 1);
  p.wave = waves_of(workload)[row[6]];
  p.fetch_ahead = kFetches[row[8]].ahead;
  p.segment_elements = kFetches[row[8]].segment_elements;
  p.reuse_gradients = kFetches[row[8]].reuse_gradients;
  p.drain_late = kDrains[row[9]];
  p.digest = true;
  trial.clips = choices.clips;
  trial.serial = row[10] == 1;
  trial.threads = choices.threads[row[11]];
  trial.io_name = choices.io[row[12]];
  trial.io = trial.io_name == "uring" ? StorageBackend::kUring : StorageBackend::kThreads;
  return trial;
}

// Each layer's homes are one tier further down than those of the layer before it.
void mix_homes(Trial& trial) {
  trial.mixed = true;
  const auto shift = [](std::vector<Tier>& homes) {
    for (std::size_t i = 1; i < homes.size(); ++i) {
      homes[i] = static_cast<Tier>((index_of(homes[i - 1]) + 1) % kTierCount);
    }
  };
  Placement& p = trial.placement;
  shift(p.weights);
  shift(p.gradients);
  shift(p.states);
  shift(p.activations);
  for (std::size_t l = 1; l < p.recompute.size(); l += 2) p.recompute[l] = !p.recompute[l];
}

// Leaves out what was there already: programs that choices without effect leave equal,
// and back ends of a storage that is not used.
std::vector<Trial> distinct(const std::vector<Trial>& trials, const Workload& workload,
                            const CostModel& costs) {
  std::set<std::tuple<std::uint64_t, bool, int, std::string>> seen;
  std::vector<Trial> kept;
  std::uint64_t hash = 0;
  bool stores = false;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    Trial trial = trials[i];
    if (i == 0 || trial.placement != trials[i - 1].placement) {
      const Program program = build_training(workload, trial.placement, costs);
      hash = hash_of(program);
      stores = program.extent[index_of(Tier::kStorage)].value > 0;
    }
    if (!stores) trial.io_name = std::string("-");
    if (seen.emplace(hash, trial.serial, trial.threads, trial.io_name).second) {
      kept.push_back(std::move(trial));
    }
  }
  return kept;
}

}  // namespace

Trial reference_trial(const Workload& workload, bool clips) {
  Trial trial{.placement = resident_placement(workload, clips), .serial = true, .clips = clips};
  trial.placement.digest = true;
  return trial;
}

std::vector<Trial> trials_of(const Workload& workload, const CostModel& costs,
                             const TrialChoices& choices) {
  // weights, gradients, optimizer, activations, Adam, recompute, wave, update, fetch, drain;
  // overlap, threads, back end.
  const std::vector<std::size_t> sizes = {3,
                                          3,
                                          3,
                                          3,
                                          2,
                                          2,
                                          waves_of(workload).size(),
                                          choices.deferred.size(),
                                          kFetches.size(),
                                          kDrains.size(),
                                          2,
                                          choices.threads.size(),
                                          choices.io.size()};
  std::vector<Trial> trials;
  if (choices.all) {
    for (const Row& row : all_rows(sizes)) trials.push_back(trial_of(row, workload, choices));
    return distinct(trials, workload, costs);
  }
  // Mixed ones come on top: their homes are a row's in the first layer alone.
  const std::size_t mixed = choices.least / 4;
  const std::vector<Row> rows = covering_rows(sizes, choices.least - mixed);
  for (const Row& row : rows) trials.push_back(trial_of(row, workload, choices));
  for (std::size_t i = 0; i < mixed; ++i) {
    trials.push_back(trials[i * rows.size() / mixed]);
    mix_homes(trials.back());
  }
  return trials;
}

std::string text_of(const Trial& trial) {
  const Placement& p = trial.placement;
  return fmt::format(
      "weights {} gradients {} optimizer {} activations {} adam {} recompute {} wave {} {} "
      "depth {}/{} {} {}t {}{}{}",
      name_of(p.weights[0]), name_of(p.gradients[0]), name_of(p.states[0]),
      name_of(p.activations[0]), p.adam_on_device[0] ? "device" : "host",
      p.recompute[0] ? "full" : "none", p.wave, p.deferred ? "deferred" : "backward", p.fetch_ahead,
      p.drain_late, trial.serial ? "serial" : "overlap", trial.threads, trial.io_name,
      trial.clips ? "" : " no clip", trial.mixed ? " mixed by layer" : "");
}

}  // namespace sluice

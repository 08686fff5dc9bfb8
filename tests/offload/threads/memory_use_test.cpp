// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The plan's bytes against those of a run: which buffers were in use at the same time is
// taken from what the lanes did, not from the order that the memory map assumed.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <numeric>

#include "tests/support/matrix_layers.h"
#include "tests/support/run_program.h"
#include "tests/support/saved_states.h"

namespace sluice {
namespace {

struct Use {
  double first = 0, last = 0;  // of a buffer in one iteration
};

// By buffer: from the start of the first operation to the end of the last one that touched
// it, on the clock of `time_of`.
template <typename TimeOf>
std::map<BufferId, Use> uses_of(const Program& program, TimeOf time_of) {
  std::map<BufferId, Use> uses;
  for (std::size_t i = 0; i < program.operations.size(); ++i) {
    const auto [start, end] = time_of(i);
    for (const Access& access : program.accesses_of(program.operations[i])) {
      if (!access.exists()) continue;
      const auto [at, fresh] = uses.try_emplace(access.buffer, Use{start, end});
      if (fresh) continue;
      at->second.first = std::min(at->second.first, start);
      at->second.last = std::max(at->second.last, end);
    }
  }
  return uses;
}

// Most bytes of a tier in use at one moment. Persistent buffers always are.
std::array<std::int64_t, kTierCount> peaks_of(const Program& program,
                                              const std::map<BufferId, Use>& uses) {
  std::array<std::int64_t, kTierCount> peaks{};
  for (const Tier tier : kTiers) {
    std::int64_t now = 0;
    std::vector<std::pair<double, std::int64_t>> changes;  // ends sort before starts
    for (std::size_t b = 0; b < program.buffers.size(); ++b) {
      const Buffer& buffer = program.buffers[b];
      if (buffer.tier != tier) continue;
      if (buffer.persistent) {
        now += buffer.size.value;
      } else if (const auto use = uses.find(static_cast<BufferId>(b)); use != uses.end()) {
        changes.emplace_back(use->second.first, buffer.size.value);
        changes.emplace_back(use->second.last, -buffer.size.value);
      }
    }
    std::sort(changes.begin(), changes.end());
    std::int64_t most = now;
    for (const auto& [when, bytes] : changes) {
      now += bytes;
      most = std::max(most, now);
    }
    peaks[index_of(tier)] = most;
  }
  return peaks;
}

struct Case {
  MatrixWorkloadOptions options;
  Workload workload;
  Program program;
};

Case random_case(unsigned seed) {
  std::mt19937 random(seed);
  Case c{.options = random_options(random)};
  c.workload = matrix_workload(c.options);
  c.program = build_training(c.workload, random_placement(c.workload, random),
                             CostModel(test_machine(), c.workload));
  return c;
}

// One operation at a time: the fullest moment of the run is the plan's, to the byte.
TEST(MemoryUse, TheFullestMomentOfARunIsThePlans) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Case c = random_case(seed);
    std::vector<double> turn(c.program.operations.size(), -1);  // when it ran in step 2
    double turns = 0;
    SavedStates saved(c.workload);  // in every step, or its operations would not run
    RunOptions options{.serial = true, .sink = &saved};
    options.before = [&](std::size_t operation, std::int64_t step) {
      // What prepares step 3, and the updates of step 1, belong to that iteration.
      if (step - 2 == -c.program.operations[operation].stage) turn[operation] = turns++;
    };
    run_training(c.workload, c.program, matrix_layers(c.options), 40, options);
    EXPECT_EQ(turns, static_cast<double>(turn.size()));
    const auto peaks = peaks_of(c.program, uses_of(c.program, [&](std::size_t i) {
                                  return std::pair{turn[i], turn[i] + 0.5};
                                }));
    for (const Tier tier : kTiers) {
      const auto& roles = c.program.peak_by_role[index_of(tier)];
      EXPECT_EQ(peaks[index_of(tier)],
                std::accumulate(roles.begin(), roles.end(), std::int64_t{0},
                                [](std::int64_t sum, Bytes role) { return sum + role.value; }))
          << "seed " << seed << " tier " << name_of(tier);
    }
  }
}

// All lanes at once: buffers that share bytes are never in use at the same time, and
// what is in use together fits into the arena that the plan reserves.
TEST(MemoryUse, OverlappedRunsStayWithinThePlan) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Case c = random_case(seed);
    const RunResult result = run_training(c.workload, c.program, matrix_layers(c.options), 40, {});
    const Timeline& timeline = result.timelines[1];
    const auto uses = uses_of(c.program, [&](std::size_t i) {
      return std::pair{timeline.spans[i].start, timeline.spans[i].end};
    });
    const auto peaks = peaks_of(c.program, uses);
    for (const Tier tier : kTiers) {
      EXPECT_LE(peaks[index_of(tier)], c.program.extent[index_of(tier)].value)
          << "seed " << seed << " tier " << name_of(tier);
    }
    for (auto a = uses.begin(); a != uses.end(); ++a) {
      const Buffer& one = c.program.buffers[static_cast<std::size_t>(a->first)];
      for (auto b = std::next(a); b != uses.end(); ++b) {
        const Buffer& other = c.program.buffers[static_cast<std::size_t>(b->first)];
        if (one.tier != other.tier || one.persistent || other.persistent) continue;
        const bool share = one.offset < other.offset + other.size &&
                           other.offset < one.offset + one.size && one.size.value > 0 &&
                           other.size.value > 0;
        const bool together = a->second.first < b->second.last && b->second.first < a->second.last;
        EXPECT_FALSE(share && together)
            << "seed " << seed << ": buffers " << a->first << " and " << b->first;
      }
    }
  }
}

}  // namespace
}  // namespace sluice

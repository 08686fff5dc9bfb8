// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the planner decides, as plain data: a home for every byte and the few
// knobs of a step's order. A Workload and a Placement give one Program.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "devices/base/units.h"

namespace sluice {

enum class Tier : std::uint8_t { kDevice, kHost, kStorage };  // fastest first
inline constexpr std::array kTiers = {Tier::kDevice, Tier::kHost, Tier::kStorage};
inline constexpr std::size_t kTierCount = kTiers.size();

enum class Role : std::uint8_t {
  kWeight,      // compute dtype
  kGradient,    // fp32 accumulators, and the rounded gradient
  kState,       // master, first and second moment, segment by segment
  kActivation,  // layer inputs and what layers keep for backward, and their gradients
  kWorkspace,   // scratch of kernels, slots of moves, batches, scalars, checksums of storage
};
inline constexpr std::size_t kRoleCount = 5;

std::string_view name_of(Tier tier);  // "device", "host", "storage"
std::string_view name_of(Role role);  // "weights", "gradients", "optimizer", ...

struct Placement {
  // Per flat parameter.
  std::vector<Tier> weights;
  std::vector<Tier> gradients;  // between backward and update; accumulators of unfinished sums too
  std::vector<Tier> states;
  std::vector<bool> adam_on_device;
  // Per layer.
  std::vector<Tier> activations;  // where a layer's kept activations wait for backward
  std::vector<bool> recompute;    // keep only the layer's input

  std::int64_t sequences = 1;  // of a micro-batch
  int wave = 1;                // micro-batches through a layer before the next layer
  bool deferred = true;        // updates run before their layer's next forward, not during backward
  int fetch_ahead = 2;         // layers
  int drain_late = 1;          // operations of the compute lane
  std::int64_t segment_elements = 1 << 20;  // parameters of one segment, a multiple of 2048
  int ring_slots = 4;                       // segments in flight
  // With updates during backward: gradients below the device take the places of those whose
  // updates are done. Less memory, but an update that is late holds backward up.
  bool reuse_gradients = false;
  bool digest = false;  // each update also hashes what it wrote
  bool save = false;    // the state can be saved while steps go on

  bool operator==(const Placement&) const = default;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A model of a few matrices: small enough for thousands of programs, with all the
// shapes that programs have: a tied matrix, layers with and without kept
// activations, a last layer that ends in a loss.

#include <cstdint>
#include <cstdlib>
#include <random>

#include "devices/machine_file.h"
#include "offload/check.h"
#include "offload/placement.h"
#include "offload/plan.h"
#include "offload/workload.h"

namespace sluice {

struct MatrixWorkloadOptions {
  int blocks = 3;
  std::int64_t width = 24;
  std::int64_t vocabulary = 40;
  int micro_batches = 4;
  int groups = 1;
  bool tied = true;
  DType compute = DType::kFloat32;
  DType gradient = DType::kFloat32;
  std::int64_t sequences = 2, length = 8;
};

inline Workload matrix_workload(const MatrixWorkloadOptions& o) {
  Workload w{.name = "matrices"};
  w.compute = o.compute;
  w.gradient = o.gradient;
  w.micro_batches = o.micro_batches;
  w.groups = o.groups;
  w.sequences = o.sequences;
  w.length = o.length;
  const std::int64_t tokens = o.sequences * o.length;
  const std::int64_t act = size_of(o.compute) * tokens * o.width;
  const auto dim = static_cast<double>(o.width);
  const auto rows = static_cast<double>(tokens);
  const auto flat = [&](const std::string& name) {
    w.flats.push_back({.name = name, .tensors = {}, .count = 0});
    return static_cast<int>(w.flats.size()) - 1;
  };
  const int table = flat("table");
  w.flats[0].add("table.weight", {o.vocabulary, o.width}, true);
  LayerSpec embedding{.name = "embedding", .flats = {table}};
  embedding.output = {act};
  embedding.forward.elementwise = embedding.backward.elementwise = {2 * act};
  w.layers.push_back(embedding);
  for (int b = 0; b < o.blocks; ++b) {
    const int f = flat("block." + std::to_string(b));
    w.flats.back().add("block." + std::to_string(b) + ".weight", {o.width, o.width}, true);
    w.flats.back().add("block." + std::to_string(b) + ".bias", {o.width}, false);
    LayerSpec block{.name = "block." + std::to_string(b), .flats = {f}};
    block.input = block.output = {act};
    block.saved = {act};
    block.backward_workspace = {act};
    block.forward.matmuls = {{.m = rows, .n = dim, .k = dim, .repeat = 1}};
    block.backward.matmuls = {{.m = rows, .n = dim, .k = dim, .repeat = 2}};
    w.layers.push_back(block);
  }
  LayerSpec head{.name = "head", .flats = {}};
  if (o.tied) {
    head.flats = {table};
  } else {
    head.flats = {flat("head")};
    w.flats.back().add("head.weight", {o.vocabulary, o.width}, true);
  }
  head.input = {act};
  head.forward_workspace =
      head.backward_workspace = {size_of(o.compute) * tokens * o.vocabulary + 4 * tokens + 256};
  head.logits = {4 * o.sequences * o.vocabulary};
  head.forward.matmuls = {
      {.m = rows, .n = static_cast<double>(o.vocabulary), .k = dim, .repeat = 1}};
  head.backward.matmuls = {
      {.m = rows, .n = static_cast<double>(o.vocabulary), .k = dim, .repeat = 3}};
  w.layers.push_back(head);
  return w;
}

// Or, in tests that CTest registers once more for a GPU's schedules, what the file says that
// SLUICE_TEST_MACHINE names.
inline Machine test_machine() {
  if (const char* file = std::getenv("SLUICE_TEST_MACHINE")) return load_machine(file);
  Machine m;
  m.name = "test";
  m.provenance = "defaults";
  m.cores = 2;
  m.gemm = {{DType::kFloat32, 512, 512, 512, 1e11}, {DType::kBFloat16, 512, 512, 512, 1e11}};
  m.attention_fp32 = m.attention_bf16 = 5e10;
  m.elementwise = {2e10};
  m.launch = Seconds{2e-6};
  m.host_to_device = m.device_to_host = {1e10};
  m.link_latency = Seconds{5e-6};
  m.memory = m.host_adam = {4e10};
  m.storage_read = m.storage_write = {2e9};
  m.storage_latency = Seconds{1e-4};
  return m;
}

// Any placement that the builder accepts, drawn from `random`.
inline Placement random_placement(const Workload& w, std::mt19937& random) {
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Placement p = resident_placement(w, pick(2) == 1);
  for (std::size_t f = 0; f < w.flats.size(); ++f) {
    p.weights[f] = static_cast<Tier>(pick(3));
    p.gradients[f] = static_cast<Tier>(pick(3));
    p.states[f] = static_cast<Tier>(pick(3));
    p.adam_on_device[f] = pick(2) == 1;
  }
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    p.activations[l] = static_cast<Tier>(pick(3));
    p.recompute[l] = pick(2) == 1;
  }
  p.wave = 1 + pick(w.micro_batches);
  p.fetch_ahead = 1 + pick(4);
  p.drain_late = pick(4);
  p.ring_slots = 3 + pick(3);
  p.reuse_gradients = pick(2) == 0;
  p.segment_elements = 2048 * (1 + pick(2));
  p.digest = pick(2) == 1;
  p.save = pick(2) == 1;
  return p;
}

inline Model matrix_model(MatrixWorkloadOptions options, std::int64_t global_batch) {
  Model model;
  model.workload = [options, global_batch](std::int64_t sequences) mutable {
    options.sequences = sequences;
    options.micro_batches = static_cast<int>(global_batch / sequences);
    return matrix_workload(options);
  };
  return model;
}

inline TierLimits limits_of(std::int64_t device, std::int64_t host, std::int64_t storage) {
  return {.capacity = {Bytes{device}, Bytes{host}, Bytes{storage}},
          .source = {"limits.device", "limits.host", "limits.storage"}};
}

inline MatrixWorkloadOptions random_options(std::mt19937& random) {
  MatrixWorkloadOptions options;
  options.micro_batches = 1 << (random() % 4);
  options.groups = std::min(1 << (random() % 4), options.micro_batches);
  options.tied = random() % 2 == 0;
  options.blocks = 1 + static_cast<int>(random() % 4);
  options.width = 24 + static_cast<std::int64_t>(random() % 80);
  options.compute = random() % 2 == 0 ? DType::kFloat32 : DType::kBFloat16;
  options.gradient = random() % 2 == 0 ? DType::kFloat32 : DType::kBFloat16;
  return options;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Runs a training program for real on the host device, on a fixed stream of
// batches, and returns everything that two runs can be compared by.

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <random>
#include <vector>

#include "devices/base/error.h"
#include "devices/registry.h"
#include "devices/storage.h"
#include "offload/builder.h"
#include "offload/check.h"
#include "offload/dependencies.h"
#include "offload/execute.h"
#include "offload/operands.h"
#include "offload/state_access.h"

namespace sluice {

struct RunOptions {
  int threads = 2;
  int steps = 3;
  bool serial = false;
  float clip = 0;
  StorageBackend io = StorageBackend::kThreads;
  AcceleratorOptions accelerator = {};
  const KernelTable* kernels = nullptr;  // instead of the accelerator's
  std::function<void(std::vector<Waits>&, const Program&)> change_waits;
  std::function<void(std::size_t operation, std::int64_t step)> before;
  StateSink* sink = nullptr;
  // Instead of the fixed start, batches and rule.
  std::function<void(int flat, std::int64_t first, std::span<float> out)> initial;
  std::function<std::int64_t(std::int64_t step, std::span<std::byte> batch)> fill;  // unmasked
  std::function<UpdateRule(std::int64_t step)> rule;
  // Before the first step, with the state in its place.
  std::function<void(const Program&, const Memory&)> at_start;
  // After the last step, before the state is read.
  std::function<void(const Program&, const Memory&)> at_rest;
};

struct RunResult {
  std::vector<double> losses;  // mean per step
  std::vector<float> norms;
  std::vector<std::uint64_t> digests;       // per step, if the placement asks for them
  std::vector<TensorDigest> state;          // after the last step
  std::vector<std::vector<float>> masters;  // by flat parameter
  std::array<Bytes, kTierCount> touched{};
  std::vector<Timeline> timelines;
};

// A folder that goes with the object, below the build: where temporary folders are may be a
// tmpfs, which is refused as storage.
class FolderOnDisk {
 public:
  FolderOnDisk() {
    std::string name = (std::filesystem::current_path() / "sluice-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~FolderOnDisk() { std::filesystem::remove_all(path_); }
  FolderOnDisk(const FolderOnDisk&) = delete;
  FolderOnDisk& operator=(const FolderOnDisk&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class FixedBatches final : public StepListener {
 public:
  FixedBatches(const Workload& workload, int vocabulary, const RunOptions& options,
               RunResult& result)
      : layout_(batch_layout(workload)),
        vocabulary_(vocabulary),
        options_(options),
        result_(result) {}

  bool prepare(std::int64_t step, std::span<std::byte> batch) override {
    if (step > options_.steps) return false;
    if (options_.fill) {
      unmasked_[static_cast<std::size_t>(step % 4)] = options_.fill(step, batch);
      return true;
    }
    unmasked_[static_cast<std::size_t>(step % 4)] = layout_.tokens() * layout_.micro_batches;
    std::mt19937 random(static_cast<unsigned>(step));
    const auto tokens = static_cast<std::size_t>(layout_.tokens());
    *reinterpret_cast<float*>(batch.data()) =
        1.0F / static_cast<float>(layout_.tokens() * layout_.micro_batches);
    for (std::int64_t m = 0; m < layout_.micro_batches; ++m) {
      auto* ids = reinterpret_cast<std::int32_t*>(batch.data() + layout_.ids(m).value);
      auto* targets = reinterpret_cast<std::int32_t*>(batch.data() + layout_.targets(m).value);
      for (std::size_t i = 0; i < tokens; ++i) {
        ids[i] = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary_));
        targets[i] = (ids[i] * 7 + 3) % vocabulary_;
      }
    }
    return true;
  }
  void report(const StepReport& report) override {
    double sum = 0;
    for (const float loss : report.losses) sum += static_cast<double>(loss);
    result_.losses.push_back(
        sum / static_cast<double>(unmasked_[static_cast<std::size_t>(report.step % 4)]));
    result_.norms.push_back(report.norm.norm);
  }
  void digest(std::int64_t, std::uint64_t value) override { result_.digests.push_back(value); }
  void completed(std::int64_t, const Timeline& timeline) override {
    result_.timelines.push_back(timeline);
  }

 private:
  BatchLayout layout_;
  int vocabulary_;
  const RunOptions& options_;
  std::array<std::int64_t, 4> unmasked_{};
  RunResult& result_;
};

inline RunResult run_training(const Workload& workload, const Program& program,
                              std::span<const std::unique_ptr<LayerProgram>> layers, int vocabulary,
                              const RunOptions& options) {
  AcceleratorOptions device = options.accelerator;
  device.threads = options.threads;
  const auto accelerator = make_accelerator("host", device);
  const auto arena_of = [&](Tier tier) {
    return std::max(program.extent[index_of(tier)], Bytes{4096});
  };
  const auto device_arena = accelerator->reserve_device(arena_of(Tier::kDevice));
  const auto host_arena = accelerator->reserve_host(arena_of(Tier::kHost));
  FolderOnDisk folder;
  std::unique_ptr<Storage> storage;
  if (program.extent[index_of(Tier::kStorage)].value > 0) {
    storage = open_storage({.folder = folder.path(),
                            .size = program.extent[index_of(Tier::kStorage)],
                            .backend = options.io});
  }
  Workers workers(options.threads);
  const Resources resources{
      .accelerator = *accelerator,
      .kernels = options.kernels != nullptr ? *options.kernels : kernels_for(accelerator->kind()),
      .host_workers = workers,
      .memory = {
          .device = device_arena->base(), .host = host_arena->base(), .storage = storage.get()}};
  {
    StateAccess state(workload, program, resources);
    for (std::size_t f = 0; f < workload.flats.size(); ++f) {
      state.load(static_cast<int>(f), [&, f](std::int64_t first, std::span<float> out) {
        if (options.initial) return options.initial(static_cast<int>(f), first, out);
        for (std::size_t i = 0; i < out.size(); ++i) {
          std::minstd_rand random(static_cast<unsigned>(f * 7919 + 1) +
                                  static_cast<unsigned>(first) + static_cast<unsigned>(i));
          random.discard(2);
          out[i] = 0.2F * (static_cast<float>(random() % 2001) / 1000.0F - 1.0F);
        }
      });
    }
  }
  std::vector<Waits> waits = derive_waits(program);
  if (options.change_waits) options.change_waits(waits, program);
  RunResult result;
  Executor executor(workload, program, waits, layers, resources,
                    {.serial = options.serial,
                     .clip = options.clip,
                     .rule =
                         [&options](std::int64_t step) {
                           if (options.rule) return options.rule(step);
                           return UpdateRule{.learning_rate = 1e-2F,
                                             .beta1 = 0.9F,
                                             .beta2 = 0.95F,
                                             .epsilon = 1e-8F,
                                             .weight_decay = 0.1F};
                         },
                     .sink = options.sink,
                     .before = options.before});
  FixedBatches batches(workload, vocabulary, options, result);
  if (options.at_start) options.at_start(program, resources.memory);
  executor.run(1, batches);
  result.touched = executor.touched();
  if (options.at_rest) options.at_rest(program, resources.memory);
  result.state = digest_state(workload, program, resources);
  StateAccess state(workload, program, resources);
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    std::vector<float>& master = result.masters.emplace_back();
    state.read(static_cast<int>(f), StatePart::kMaster,
               [&](std::int64_t, std::span<const std::byte> bytes) {
                 const auto* floats = reinterpret_cast<const float*>(bytes.data());
                 master.insert(master.end(), floats, floats + bytes.size() / 4);
               });
  }
  return result;
}

}  // namespace sluice

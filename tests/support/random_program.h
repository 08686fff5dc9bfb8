// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Programs that no builder would write: random operations of every kind and stage, on
// random ranges of buffers that overlap each other. They mean nothing; but whatever a
// program says, an overlapped run must leave the bytes that a serial one leaves.

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "devices/host/host_queue.h"
#include "kernels/digest_math.h"
#include "offload/dependencies.h"
#include "offload/execute.h"
#include "offload/operands.h"
#include "tests/support/run_program.h"
#include "tests/support/unordered_storage.h"

namespace sluice {

inline std::uint32_t mixed(std::uint32_t x) { return static_cast<std::uint32_t>(bijection64(x)); }

// A float between 1 and 2 from any bits: sums stay finite, and no two inputs look alike.
inline float sane(std::uint32_t bits) { return 1.0F + static_cast<float>(bits >> 9) * 0x1p-23F; }

// out and saved become functions of all that the call reads.
class MixingLayer final : public LayerProgram {
 public:
  static constexpr std::int64_t kFloats = 160;

  void forward(const LayerCall& call) const override { mix(call, 1); }
  void backward(const LayerCall& call) const override { mix(call, 2); }

 private:
  static void mix(const LayerCall& call, std::uint32_t salt) {
    const auto* input = reinterpret_cast<const std::uint32_t*>(call.input);
    const auto* other = reinterpret_cast<const std::uint32_t*>(call.output_gradient);
    auto* output = reinterpret_cast<float*>(call.output);
    auto* saved = reinterpret_cast<float*>(call.saved);
    const std::int32_t* ids = call.batch.ids;
    const std::int64_t tokens = call.batch.length;
    static_cast<HostQueue&>(call.queue).enqueue([=](Workers&) {
      for (std::int64_t i = 0; i < kFloats; ++i) {
        const auto id = static_cast<std::uint32_t>(ids[i % tokens]);
        const auto kept = std::bit_cast<std::uint32_t>(saved[i]);
        const std::uint32_t bits = mixed(input[i] + salt) ^ mixed(other[i] + 3 * id);
        output[i] = sane(mixed(bits ^ kept));
        saved[i] = sane(mixed(bits + kept));
      }
    });
  }
};

class RandomProgram {
 public:
  explicit RandomProgram(unsigned seed) : random_(seed) {
    workload_.name = "random";
    workload_.flats.push_back({.name = "flat", .tensors = {}, .count = 0});
    workload_.flats[0].add("flat.weight", {kElements}, true);
    workload_.layers.push_back({.name = "layer", .flats = {}});
    workload_.length = 16;
    program_.homes.push_back({.segment_elements = kElements, .segments = 1});
    // Room for a constant norm before the pages that operations work on.
    for (const Tier tier : kTiers) {
      program_.extent[index_of(tier)] = {(kPages + 1) * kPage};
      buffers_[index_of(tier)] = add_buffers(tier);
    }
    norm_ = add_buffer(Tier::kHost, 0, kPage);
    layers_.push_back(std::make_unique<MixingLayer>());
    const auto prepare_at = pick(0, kOperations - 1);
    for (std::int64_t i = 0; i < kOperations; ++i) {
      if (i == prepare_at) {
        add_prepare();
      } else {
        add_operation();
      }
    }
  }

  const Workload& workload() const { return workload_; }
  const Program& program() const { return program_; }
  const std::vector<std::unique_ptr<LayerProgram>>& layers() const { return layers_; }

  static constexpr std::int64_t kPage = 4096;

 private:
  static constexpr std::int64_t kPages = 24;
  static constexpr std::int64_t kOperations = 40;
  static constexpr std::int64_t kElements = 64;  // of the flat parameter
  static constexpr std::int64_t kUnit = 64;      // bytes: ranges in memory are multiples

  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }

  BufferId add_buffer(Tier tier, std::int64_t offset, std::int64_t size) {
    program_.buffers.push_back(
        {.tier = tier, .persistent = true, .size = {size}, .offset = {offset}});
    return static_cast<BufferId>(program_.buffers.size() - 1);
  }

  // Buffers that overlap one another.
  std::vector<BufferId> add_buffers(Tier tier) {
    std::vector<BufferId> all;
    for (int i = 0; i < 6; ++i) {
      const std::int64_t pages = pick(8, 14);
      all.push_back(add_buffer(tier, kPage * (1 + pick(0, kPages - pages)), kPage * pages));
    }
    return all;
  }

  std::int64_t begin_of(const Access& access) const {
    return program_.buffers[static_cast<std::size_t>(access.buffer)].offset.value +
           access.begin.value;
  }

  // A range of `size` bytes of a tier that none of `taken` overlaps.
  Access range(Tier tier, std::int64_t size, bool reads, bool writes,
               const std::vector<Access>& taken = {}) {
    for (;;) {
      const BufferId buffer = buffers_[index_of(tier)][static_cast<std::size_t>(pick(0, 5))];
      const std::int64_t room = program_.buffers[static_cast<std::size_t>(buffer)].size.value;
      const std::int64_t unit = tier == Tier::kStorage || size % kPage == 0 ? kPage : kUnit;
      const std::int64_t begin = unit * pick(0, (room - size) / unit);
      const Access access{
          .buffer = buffer, .reads = reads, .writes = writes, .begin = {begin}, .size = {size}};
      bool free = true;
      for (const Access& other : taken) {
        if (!other.exists()) continue;
        const Tier its = program_.buffers[static_cast<std::size_t>(other.buffer)].tier;
        free = free && (its != tier || begin_of(access) + size <= begin_of(other) ||
                        begin_of(other) + other.size.value <= begin_of(access));
      }
      if (free) return access;
    }
  }

  void emit(Operation operation, const std::vector<Access>& accesses) {
    operation.first_access = static_cast<std::uint32_t>(program_.accesses.size());
    operation.access_count = static_cast<std::uint32_t>(accesses.size());
    program_.accesses.insert(program_.accesses.end(), accesses.begin(), accesses.end());
    program_.lane_position.push_back(program_.lane_size[index_of(operation.lane)]++);
    program_.operations.push_back(operation);
  }

  void add_prepare() {
    const Bytes size = batch_layout(workload_).size();
    emit({.kind = OperationKind::kPrepare, .lane = Lane::kHostCompute, .stage = -1},
         {range(Tier::kHost, size.value, false, true)});
  }

  void add_operation() {
    const auto stage = static_cast<std::int8_t>(pick(-1, 1));
    switch (pick(0, 9)) {
      case 0:
        return add_move(OperationKind::kMove, Lane::kHostToDevice, stage);
      case 1:
        return add_move(OperationKind::kMove, Lane::kDeviceToHost, stage);
      case 2:
      case 3:
        return add_move(OperationKind::kMove, Lane::kStorageRead, stage);
      case 4:
      case 5:
        return add_move(OperationKind::kMove, Lane::kStorageWrite, stage);
      case 6:
        return add_layer(stage);
      case 7:
        return add_merge(stage);
      case 8:
        return add_update(stage);
      default:
        return add_report(stage);
    }
  }

  void add_move(OperationKind kind, Lane lane, std::int8_t stage) {
    const bool storage = has_depth(lane);
    const bool up = lane == Lane::kHostToDevice || lane == Lane::kStorageRead;
    const Tier near = storage ? Tier::kHost : Tier::kDevice;
    const Tier far = storage ? Tier::kStorage : Tier::kHost;
    const std::int64_t size = storage ? kPage * pick(1, 3) : kUnit * pick(1, 160);
    const Access from = range(up ? far : near, size, true, false);
    const Access to = range(up ? near : far, size, false, true);
    emit({.kind = kind, .lane = lane, .stage = stage}, {from, to});
  }

  void add_layer(std::int8_t stage) {
    constexpr std::int64_t kSize = 4 * MixingLayer::kFloats;
    using O = LayerOperands;
    std::vector<Access> a(O::kWeights);
    a[O::kBatch] = range(Tier::kDevice, batch_layout(workload_).size().value, true, false);
    a[O::kInput] = range(Tier::kDevice, kSize, true, false);
    a[O::kOutputGradient] = range(Tier::kDevice, kSize, true, false);
    a[O::kOutput] = range(Tier::kDevice, kSize, false, true, a);
    a[O::kSaved] = range(Tier::kDevice, kSize, true, true, a);
    const bool forward = pick(0, 1) == 0;
    emit({.kind = forward ? OperationKind::kForward : OperationKind::kBackward,
          .lane = Lane::kCompute,
          .stage = stage,
          .layer = 0,
          .micro_batch = 0},
         a);
  }

  void add_merge(std::int8_t stage) {
    constexpr std::int64_t kSize = 4 * kElements;
    const Access total = range(Tier::kDevice, kSize, true, true);
    const Access addend = range(Tier::kDevice, kSize, true, false, {total});
    emit({.kind = OperationKind::kMerge, .lane = Lane::kCompute, .stage = stage, .flat = 0},
         {total, addend});
  }

  void add_update(std::int8_t stage) {
    const Bytes state = segment_layout(kElements, workload_.moments).size;
    using O = UpdateOperands;
    std::vector<Access> a(O::kDigest + 1);
    a[O::kState] = range(Tier::kHost, state.value, true, true);
    a[O::kGradient] = range(Tier::kHost, 4 * kElements, true, false, a);
    a[O::kWeight] = range(Tier::kHost, 4 * kElements, false, true, a);
    a[O::kDigest] = range(Tier::kHost, 8, false, true, a);
    a[O::kNorm] = {.buffer = norm_, .reads = true, .size = {sizeof(NormResult)}};
    emit({.kind = OperationKind::kUpdate,
          .lane = Lane::kHostCompute,
          .stage = stage,
          .flat = 0,
          .segment = 0},
         a);
  }

  void add_report(std::int8_t stage) {
    emit({.kind = OperationKind::kReportDigest, .lane = Lane::kHostCompute, .stage = stage},
         {range(Tier::kHost, 8 * pick(1, 100), true, false)});
  }

  std::mt19937 random_;
  Workload workload_;
  Program program_;
  std::vector<std::unique_ptr<LayerProgram>> layers_;
  std::array<std::vector<BufferId>, kTierCount> buffers_;
  BufferId norm_ = kNoBuffer;
};

struct RandomRun {
  std::vector<std::byte> bytes;                               // of all tiers, at the end
  std::vector<std::pair<std::int64_t, std::uint64_t>> heard;  // by the host, in order
  bool operator==(const RandomRun&) const = default;
};

struct RandomRunOptions {
  bool serial = false;
  StorageBackend io = StorageBackend::kThreads;
  int steps = 4;
  bool unordered_storage = false;
  std::function<void(std::vector<Waits>&, const Program&)> change_waits;
};

namespace random_program_detail {

class Listener final : public StepListener {
 public:
  Listener(int steps, RandomRun& run) : steps_(steps), run_(run) {}

  bool prepare(std::int64_t step, std::span<std::byte> batch) override {
    if (step > steps_) return false;
    for (std::size_t i = 0; i + 4 <= batch.size(); i += 4) {
      const float value =
          sane(mixed(static_cast<std::uint32_t>(i) + 977U * static_cast<std::uint32_t>(step)));
      std::memcpy(batch.data() + i, &value, sizeof value);
    }
    return true;
  }
  void report(const StepReport&) override {}
  void digest(std::int64_t step, std::uint64_t value) override {
    run_.heard.emplace_back(step, value);
  }

 private:
  int steps_;
  RandomRun& run_;
};

inline void fill(std::span<std::byte> bytes, std::uint32_t salt) {
  for (std::size_t i = 0; i < bytes.size(); i += 4) {
    const float value = sane(mixed(static_cast<std::uint32_t>(i) ^ salt));
    std::memcpy(bytes.data() + i, &value, sizeof value);
  }
}

}  // namespace random_program_detail

inline RandomRun run_random(const RandomProgram& random, const RandomRunOptions& options) {
  const Program& program = random.program();
  const auto accelerator = make_accelerator("host", {.threads = 1});
  const auto size_of_tier = [&](Tier tier) { return program.extent[index_of(tier)]; };
  const auto device = accelerator->reserve_device(size_of_tier(Tier::kDevice));
  const auto host = accelerator->reserve_host(size_of_tier(Tier::kHost));
  const auto copy = accelerator->reserve_host(size_of_tier(Tier::kStorage));
  const FolderOnDisk folder;
  const auto storage = open_storage(
      {.folder = folder.path(), .size = size_of_tier(Tier::kStorage), .backend = options.io});
  UnorderedStorage unordered(*storage);
  const auto all_of = [](Arena& arena) {
    return std::span<std::byte>(arena.base(), static_cast<std::size_t>(arena.size().value));
  };
  random_program_detail::fill(all_of(*device), 1);
  random_program_detail::fill(all_of(*host), 2);
  *reinterpret_cast<NormResult*>(host->base()) = NormResult{};
  random_program_detail::fill(all_of(*copy), 3);
  write_now(*storage, {0}, all_of(*copy));

  Workers workers(1);
  const Resources resources{
      .accelerator = *accelerator,
      .kernels = kernels_for("host"),
      .host_workers = workers,
      .memory = {.device = device->base(),
                 .host = host->base(),
                 .storage = options.unordered_storage ? &unordered : storage.get()}};
  std::vector<Waits> waits = derive_waits(program);
  if (options.change_waits) options.change_waits(waits, program);
  // Some operations start late, so that the lanes meet in many ways.
  const auto hold_up = [&](std::size_t operation, std::int64_t step) {
    const std::uint32_t bits =
        mixed(static_cast<std::uint32_t>(operation * 131) + static_cast<std::uint32_t>(step));
    if (!options.serial && bits % 4 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(bits >> 8 & 127));
    }
  };
  RandomRun run;
  Executor executor(random.workload(), program, waits, random.layers(), resources,
                    {.serial = options.serial,
                     .rule =
                         [](std::int64_t) {
                           return UpdateRule{.learning_rate = 0.1F,
                                             .beta1 = 0.5F,
                                             .beta2 = 0.5F,
                                             .epsilon = 1e-3F,
                                             .weight_decay = 0.1F};
                         },
                     .before = hold_up});
  random_program_detail::Listener listener(options.steps, run);
  executor.run(1, listener);
  read_now(*storage, {0}, all_of(*copy));
  for (Arena* arena : {device.get(), host.get(), copy.get()}) {
    const auto bytes = all_of(*arena);
    run.bytes.insert(run.bytes.end(), bytes.begin(), bytes.end());
  }
  return run;
}

}  // namespace sluice

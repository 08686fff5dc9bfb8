// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/registry.h"
#include "devices/topology.h"
#include "engine/data/token_source.h"
#include "engine/model/model.h"
#include "engine/run/evaluate.h"
#include "engine/run/hardware.h"
#include "engine/run/limits.h"
#include "engine/run/trainer.h"
#include "engine/run/verify_trials.h"
#include "engine/run/weights.h"
#include "engine/schedule.h"
#include "offload/builder.h"

namespace sluice {
namespace {

// Each thread that was asked for has to run before a row counts.
constexpr Seconds kPatience{20};

struct Outcome {
  std::vector<std::uint64_t> digests;  // per step
  std::vector<TensorDigest> state;
  std::array<Bytes, kLaneCount> moved;  // per step
};

class Listener final : public StepListener {
 public:
  Listener(const Workload& workload, const Program& program, const TrainingBatches& batches,
           std::int64_t steps, Outcome& outcome)
      : layout_(batch_layout(workload)),
        program_(program),
        batches_(batches),
        steps_(steps),
        outcome_(outcome) {}

  bool prepare(std::int64_t step, std::span<std::byte> batch) override {
    if (step > steps_) return false;
    const std::int64_t first = (step - 1) * layout_.micro_batches * layout_.sequences;
    fill_batch(layout_, batch, [&](std::int64_t at, auto ids, auto targets) {
      return batches_.fill(first + at, ids, targets);
    });
    return true;
  }
  void report(const StepReport&) override {}
  void digest(std::int64_t, std::uint64_t value) override { outcome_.digests.push_back(value); }
  void completed(std::int64_t, const Timeline& timeline) override {
    const auto use = lane_use(program_, timeline);
    for (std::size_t lane = 0; lane < kLaneCount; ++lane) outcome_.moved[lane] = use[lane].bytes;
  }

 private:
  BatchLayout layout_;
  const Program& program_;
  const TrainingBatches& batches_;
  std::int64_t steps_;
  Outcome& outcome_;
};

class Verifier {
 public:
  Verifier(const LoadedConfig& loaded, const VerifyOptions& options)
      : config_(loaded.config),
        options_(options),
        data_(open_training_data(config_.data, config_.model.shape.vocabulary)),
        batches_(data_.train, config_.data.seq_len, static_cast<std::uint64_t>(config_.train.seed)),
        device_(choose_device(config_.limits.accelerator)),
        model_(make_model(config_.model.shape, training_shape(config_, device_.kind))),
        workload_(model_.workload(sequences())),
        machine_(default_machine(effective_limits(), device_)),
        costs_(machine_, workload_),
        rate_(config_.schedule, config_.optimizer.lr, config_.train.steps.value_or(1000)),
        folder_(config_.limits.storage_path.empty() ? std::filesystem::current_path()
                                                    : config_.limits.storage_path) {
    check_storage_folder(folder_);
    backends_ = options_.io.empty() ? backends() : options_.io;
  }

  // Where the norm clips, updates wait for it: both timings are compared without.
  VerifyResult run() {
    TrialChoices choices{.clips = config_.train.clip > 0,
                         .deferred = {true, false},
                         .all = options_.all,
                         .threads = options_.threads,
                         .io = backends_};
    if (!choices.clips) {
      add(choices);
      return result_;
    }
    choices.deferred = {true};
    add(choices);
    choices.clips = false;
    choices.deferred = {true, false};
    choices.least = 12;
    if (result_.difference.empty()) add(choices);
    return result_;
  }

 private:
  // The trials of `choices` against a reference of their own.
  void add(const TrialChoices& choices) {
    const Trial first = reference_trial(workload_, choices.clips);
    const std::vector<Trial> trials = trials_of(workload_, costs_, choices);
    log_info(fmt::format("{} placements of {} steps each{}", trials.size() + 1, options_.steps,
                         choices.clips ? "" : ", without clipping"));
    const Outcome reference = train(first);
    show(result_.placements++, first, reference);
    for (const Trial& trial : trials) {
      const Outcome outcome = train(trial);
      show(result_.placements++, trial, outcome);
      result_.difference = difference(reference, outcome);
      if (result_.difference.empty()) continue;
      result_.difference += " in " + text_of(trial);
      return;
    }
  }

  // Several micro-batches, so that sums over them are seen.
  std::int64_t sequences() const {
    if (config_.train.micro_batch > 0) return config_.train.micro_batch;
    const std::int64_t batch = config_.train.global_batch;
    for (std::int64_t s = std::max<std::int64_t>(1, batch / 4); s > 1; --s) {
      if (batch % s == 0 && batch / s % config_.train.groups == 0) return s;
    }
    return 1;
  }

  // Those that work here: containers often forbid io_uring.
  std::vector<std::string> backends() const {
    constexpr Bytes kLeast = {4096};
    const auto open = [&](StorageBackend backend) {
      open_storage({.folder = folder_, .size = kLeast, .backend = backend, .nameless = true});
    };
    open(StorageBackend::kThreads);
    try {
      open(StorageBackend::kUring);
    } catch (const Error& error) {
      log_warn(fmt::format("{}: verified with threads alone", error.what()));
      return {"threads"};
    }
    return {"uring", "threads"};
  }

  Outcome train(const Trial& trial) {
    const Program program = build_training(workload_, trial.placement, costs_);
    AcceleratorOptions device = accelerator_options(machine_, device_, trial.threads);
    device.muster = kPatience;
    Hardware hardware(open_device(device_.kind, device), {.extent = program.extent,
                                                          .threads = trial.threads,
                                                          .storage_folder = folder_,
                                                          .io = trial.io,
                                                          .nameless = true});
    const Resources resources = hardware.resources();
    resources.host_workers.muster(kPatience);
    {
      StateAccess state(workload_, program, resources);
      load_start(workload_, config_.model, static_cast<std::uint64_t>(config_.train.seed),
                 resources.host_workers, state);
    }
    Outcome outcome;
    ExecuteOptions how{
        .serial = trial.serial,
        .clip = trial.clips ? static_cast<float>(config_.train.clip) : 0.0F,
        .rule = [this](std::int64_t step) { return update_rule(config_.optimizer, rate_, step); }};
    std::vector<Waits> waits = derive_waits(program);
    if (options_.drop_edge) drop_edge(program, waits, how);
    Executor executor(workload_, program, std::move(waits), model_.layers, resources,
                      std::move(how));
    Listener listener(workload_, program, batches_, options_.steps, outcome);
    executor.run(1, listener);
    outcome.state = digest_state(workload_, program, resources);
    return outcome;
  }

  // Leaves out the edge from an update to the next fetch of its weights, where there is
  // one that no other edge stands for, and holds that update up, so that the fetch
  // overtakes it.
  static void drop_edge(const Program& program, std::vector<Waits>& waits, ExecuteOptions& how) {
    const std::size_t updates = index_of(Lane::kHostCompute);
    std::int32_t seen = Waits::kNone;  // what the fetches so far have waited for
    for (std::size_t i = 0; i < waits.size(); ++i) {
      if (program.operations[i].lane != Lane::kHostToDevice) continue;
      std::int32_t& latest = waits[i].latest[updates];
      if (latest == Waits::kNone || latest <= seen) continue;
      seen = latest;
      const std::size_t update = operation_at(program, Lane::kHostCompute, latest);
      if (program.operations[i].role != Role::kWeight ||
          program.operations[update].kind != OperationKind::kUpdate) {
        continue;
      }
      latest = Waits::kNone;
      how.before = [update](std::size_t operation, std::int64_t) {
        constexpr auto kLongerThanAFetch = std::chrono::milliseconds(100);
        if (operation == update) std::this_thread::sleep_for(kLongerThanAFetch);
      };
      return;
    }
  }

  // The operation at a position of a lane; positions before 0 are of the step before.
  static std::size_t operation_at(const Program& program, Lane lane, std::int32_t position) {
    const std::int32_t size = program.lane_size[index_of(lane)];
    const std::int32_t within = position < 0 ? position + size : position;
    for (std::size_t i = 0; i < program.operations.size(); ++i) {
      if (program.operations[i].lane == lane && program.lane_position[i] == within) return i;
    }
    return 0;
  }

  static std::string difference(const Outcome& a, const Outcome& b) {
    for (std::size_t i = 0; i < a.state.size(); ++i) {
      if (a.state[i] != b.state[i]) {
        return fmt::format("{} of {} differs", name_of(a.state[i].part), a.state[i].tensor);
      }
    }
    for (std::size_t step = 0; step < a.digests.size(); ++step) {
      if (a.digests[step] != b.digests[step]) {
        return fmt::format("the digest of step {} differs", step + 1);
      }
    }
    return {};
  }

  static void show(std::int64_t row, const Trial& trial, const Outcome& outcome) {
    std::string moved;
    for (const Lane lane : kLanes) {
      const Bytes bytes = outcome.moved[index_of(lane)];
      if (bytes.value > 0) moved += fmt::format(" {} {}", name_of(lane), format_bytes(bytes));
    }
    fmt::print("{:3}  {:016x}  {} |{}\n", row, outcome.digests.back(), text_of(trial), moved);
    if (std::fflush(stdout) != 0) {
      throw Error(ErrorKind::kIo, with_errno("standard output cannot be written", errno));
    }
  }

  const RunConfig& config_;
  const VerifyOptions& options_;
  TrainingData data_;
  TrainingBatches batches_;
  DeviceChoice device_;
  Model model_;
  Workload workload_;
  Machine machine_;
  CostModel costs_;
  LearningRate rate_;
  std::filesystem::path folder_;
  std::vector<std::string> backends_;
  VerifyResult result_;
};

}  // namespace

VerifyResult verify(const LoadedConfig& loaded, const VerifyOptions& options) {
  check_start(loaded.config.model);
  return Verifier(loaded, options).run();
}

}  // namespace sluice

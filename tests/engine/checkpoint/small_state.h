// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The state of a few matrices at rest, to be saved and loaded without training.

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "engine/checkpoint/checkpoint_folder.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/scratch.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

namespace sluice {

class SmallState {
 public:
  explicit SmallState(Workload workload = matrix_workload({}))
      : workload_(std::move(workload)),
        program_(build_training(workload_, resident_placement(workload_, true),
                                CostModel(test_machine(), workload_))),
        accelerator_(make_accelerator("host", {.threads = 1})),
        device_(accelerator_->reserve_device(program_.extent[index_of(Tier::kDevice)])),
        host_(accelerator_->reserve_host(
            std::max(program_.extent[index_of(Tier::kHost)], Bytes{4096}))),
        workers_(1),
        state_(workload_, program_,
               {.accelerator = *accelerator_,
                .kernels = kernels_for("host"),
                .host_workers = workers_,
                .memory = {.device = device_->base(), .host = host_->base()}}),
        layout_(checkpoint_layout(workload_)) {}

  const Workload& workload() const { return workload_; }
  const CheckpointLayout& layout() const { return layout_; }
  StateAccess& state() { return state_; }

  // No element is zero, and no two states are alike.
  void fill(unsigned seed) {
    std::mt19937 random(seed);
    for (std::size_t f = 0; f < workload_.flats.size(); ++f) {
      for (const StatePart part : kSavedParts) {
        state_.restore(static_cast<int>(f), part, [&](std::int64_t, std::span<float> out) {
          for (float& x : out) x = 0.5F + static_cast<float>(random() % 100'000) * 1e-5F;
        });
      }
    }
  }

  std::filesystem::path save(const std::filesystem::path& folder, std::int64_t step) {
    CheckpointWriter writer(folder, layout_, step);
    struct Sink final : StateSink {
      explicit Sink(CheckpointWriter& to) : writer(to) {}
      bool wants(std::int64_t) override { return true; }
      void write(std::int64_t, const StatePiece& piece) override { writer.write(piece); }
      void end(std::int64_t) override {}
      CheckpointWriter& writer;
    } sink(writer);
    save_state(workload_, state_, step, sink);
    RunState run;
    run.step = step;
    run.samples = 8 * step;
    return writer.commit(run, {.config_toml = "# nothing\n", .config_json = "{}"});
  }

  // Every logical element of masters and moments; or of one tensor's part. What lies between
  // tensors is nobody's.
  std::vector<std::byte> bytes() {
    std::vector<std::byte> all;
    for (std::size_t f = 0; f < workload_.flats.size(); ++f) {
      for (std::size_t t = 0; t < workload_.flats[f].tensors.size(); ++t) {
        for (const StatePart part : kSavedParts) {
          const auto some = bytes(static_cast<int>(f), t, part);
          all.insert(all.end(), some.begin(), some.end());
        }
      }
    }
    return all;
  }
  std::vector<std::byte> bytes(int flat, std::size_t tensor, StatePart part) {
    std::vector<std::byte> all;
    state_.read(flat, part, [&](std::int64_t, std::span<const std::byte> piece) {
      all.insert(all.end(), piece.begin(), piece.end());
    });
    const TensorSpec& spec = workload_.flats[static_cast<std::size_t>(flat)].tensors[tensor];
    const std::int64_t width = size_of(state_.dtype_of(part));
    const auto begin = all.begin() + width * spec.offset;
    return {begin, begin + width * spec.count};
  }

 private:
  Workload workload_;
  Program program_;
  std::unique_ptr<Accelerator> accelerator_;
  std::unique_ptr<Arena> device_, host_;
  Workers workers_;
  StateAccess state_;
  CheckpointLayout layout_;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Trains a Model on the host device the plain way: everything resident, one
// micro-batch after the other, one layer after the other. What a Program must equal.
//
// Buffers have exactly the sizes that the Workload states, with canaries behind
// them, and scratch starts as NaN.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "devices/host/host_queue.h"
#include "devices/workers.h"
#include "kernels/kernels.h"
#include "offload/workload.h"

namespace sluice {

class GuardedBytes {
 public:
  GuardedBytes() = default;
  explicit GuardedBytes(Bytes size);  // filled with 0xFF: NaN in any type

  std::byte* data() { return data_.get(); }
  float* floats() { return reinterpret_cast<float*>(data_.get()); }
  void fill();  // with 0xFF
  bool intact() const;

 private:
  static constexpr std::size_t kGuard = 256;
  struct Delete {
    void operator()(std::byte* data) const noexcept {
      ::operator delete[](data, std::align_val_t{64});
    }
  };
  std::size_t size_ = 0;
  std::unique_ptr<std::byte[], Delete> data_;
};

struct AdamSettings {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1, clip = 0;
};

class ResidentTrainer {
 public:
  struct StepResult {
    double loss = 0;           // mean over unmasked targets
    double gradient_norm = 0;  // before clipping
  };

  // Requires groups == 1.
  ResidentTrainer(Model model, std::int64_t sequences_per_micro_batch, int threads);

  const Workload& workload() const { return workload_; }

  // Master weights of a flat parameter; call set_weights() to change them.
  std::span<const float> weights(std::size_t flat) const { return flats_[flat].master; }
  void set_weights(std::size_t flat, std::span<const float> values);

  // Forward and backward of a global batch; fills gradients() and norm.
  StepResult gradients(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                       double clip);
  // As they leave the accelerator, gaps included. Fp32 gradients alone.
  std::span<const float> gradient(std::size_t flat);

  // AdamW with what gradients() left.
  void update(const AdamSettings& settings);

  StepResult step(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                  const AdamSettings& settings) {
    const StepResult result = gradients(ids, targets, settings.clip);
    update(settings);
    return result;
  }

  // Sum of losses by the forward passes alone, and the logits of each sequence's
  // last position where `logits` is not null. One micro-batch.
  double forward_loss(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                      std::vector<float>* logits = nullptr);

  bool buffers_intact() const;  // all canaries

 private:
  struct Flat {
    std::vector<float> master, first_moment, second_moment;
    GuardedBytes weight, gradient;           // compute type, gradient type
    std::vector<GuardedBytes> accumulators;  // one per layer that uses it
  };
  struct Layer {
    GuardedBytes input, saved;
    std::vector<const std::byte*> weights;
    std::vector<float*> accumulators;
  };

  LayerCall call(std::size_t layer, const MicroBatchView& batch);
  void forward(const MicroBatchView& batch, std::size_t layers);
  void backward(const MicroBatchView& batch, bool accumulate);
  void finish_gradients(double clip);
  void wait() { queue_.synchronize(queue_.mark()); }

  Model model_;
  Workload workload_;
  Workers workers_;
  HostQueue queue_;
  const KernelTable& kernels_;
  std::vector<Flat> flats_;
  std::vector<Layer> layers_;
  GuardedBytes workspace_, gradients_[2];  // of layer outputs, in turn
  std::vector<double> partials_;
  NormResult norm_;
  float loss_ = 0, loss_scale_ = 1;
  std::int64_t steps_ = 0;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What the planner knows of a model: tensors with sizes, layers with costs, and
// nothing of transformers. `engine` makes a Workload; a LayerProgram does the
// arithmetic of one of its layers on buffers that the plan placed.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "kernels/kernels.h"

namespace sluice {

// One logical tensor inside a flat parameter.
struct TensorSpec {
  std::string name;  // Hugging Face's name
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // elements from the start of the flat parameter
  std::int64_t count = 0;   // product of shape
  bool decays = false;      // matrices do, biases and norms do not
};

// The tensors of a layer laid end to end: the unit that is placed, moved and
// updated. A tied matrix is a flat parameter of its own, used by two layers.
struct FlatParameter {
  std::string name;
  std::vector<TensorSpec> tensors;  // by ascending offset
  std::int64_t count = 0;           // elements, padding between tensors included

  // Appends a tensor at the next aligned offset; returns its index.
  int add(std::string tensor_name, std::vector<std::int64_t> shape, bool decays);
};
inline constexpr std::int64_t kTensorAlignment = 64;  // elements

// `repeat` products of these sizes, for the cost model.
struct MatmulCost {
  double m = 0, n = 0, k = 0, repeat = 1;
};

// The cost of one layer on one micro-batch in one direction.
struct PassCost {
  std::vector<MatmulCost> matmuls;
  double attention_flops = 0;
  Bytes elementwise;     // traffic of everything that is bound by memory
  int launches = 1;      // kernels
  double flops() const;  // of matmuls and attention
};

struct LayerSpec {
  std::string name;
  std::vector<int> flats;  // flat parameters it uses, in the order LayerProgram expects

  // Per micro-batch. `input` is 0 for the first layer (it reads tokens), `output`
  // is 0 for the last (it ends in the loss).
  Bytes input, output;
  Bytes saved;               // kept from forward to backward unless recomputed
  Bytes forward_workspace;   // scratch of one forward call
  Bytes backward_workspace;  // scratch of one backward call
  Bytes logits;              // last layer: fp32 logits of each sequence's last position

  PassCost forward, backward;
  std::optional<PassCost> recompute;  // where that is less than forward
};

// One training step of one model at one micro-batch size.
struct Workload {
  std::string name;
  std::vector<FlatParameter> flats;
  std::vector<LayerSpec> layers;  // in forward order: embedding, blocks, head

  DType compute = DType::kFloat32;   // weights and activations
  DType gradient = DType::kFloat32;  // as it leaves the accelerator
  DType moments = DType::kFloat32;

  int micro_batches = 1;        // per step
  int groups = 1;               // power of two that divides micro_batches
  std::int64_t sequences = 1;   // per micro-batch
  std::int64_t length = 1;      // tokens of a sequence
  Bytes queue_scratch;          // device memory lent to the queue that computes (Queue::lend)
  bool checks_storage = false;  // what is read from storage (StorageOptions::checksum)
  Tokens tokens_per_micro_batch() const { return {sequences * length}; }
  Tokens tokens_per_step() const { return tokens_per_micro_batch() * micro_batches; }

  std::int64_t parameters() const;  // logical elements, without padding
};

// A micro-batch in device memory. Targets are -1 where masked.
struct MicroBatchView {
  const std::int32_t* ids = nullptr;      // [sequences * length]
  const std::int32_t* targets = nullptr;  // [sequences * length]
  const float* loss_scale = nullptr;      // 1 / unmasked tokens of the global batch
  std::int64_t sequences = 0, length = 0;
};

// What one call of a LayerProgram works on. All memory is the device's.
struct LayerCall {
  Queue& queue;
  const KernelTable& kernels;
  MicroBatchView batch;
  std::span<const std::byte* const> weights;  // one per LayerSpec::flats, compute type
  std::span<float* const> gradients;          // likewise: fp32 accumulators (backward)
  bool accumulate = false;                    // gradients add to what is there
  const std::byte* input = nullptr;           // null for the first layer
  std::byte* output = nullptr;                // forward; null for the last layer, and when
                                              // recomputing: only `saved` is wanted then
  std::byte* saved = nullptr;
  std::byte* workspace = nullptr;
  const std::byte* output_gradient = nullptr;  // backward; null for the last layer
  std::byte* input_gradient = nullptr;         // backward; null for the first layer
  float* loss = nullptr;                       // last layer: sum of losses of this micro-batch
  std::byte* logits = nullptr;  // last layer, forward only: [sequences, V] of each sequence's
                                // last position, fp32; null in training and evaluation
};

// The arithmetic of one layer. Kernels are enqueued on call.queue and nothing else
// happens: no allocation, no waiting. forward() then backward() with the same
// `input`, `saved` and weights gives the gradients; forward() may be called twice
// (recompute) and writes the same bits.
// The last layer's backward() does its own forward: it computes the loss, the
// gradients and input_gradient in one go; its forward() computes the loss alone.
class LayerProgram {
 public:
  virtual ~LayerProgram() = default;
  virtual void forward(const LayerCall& call) const = 0;
  virtual void backward(const LayerCall& call) const = 0;
};

// A model at any micro-batch size: what the planner searches over.
struct Model {
  // The workload with `sequences` per micro-batch.
  std::function<Workload(std::int64_t sequences)> workload;
  // layers[i] belongs to Workload::layers[i].
  std::vector<std::unique_ptr<LayerProgram>> layers;
};

}  // namespace sluice

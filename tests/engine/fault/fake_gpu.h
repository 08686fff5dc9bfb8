// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A GPU that is none, to train on: calls of the CUDA runtime answered by FakeCuda, kernels of the
// host run at the time of the call. Everything between them is what a real one goes through.

#include "devices/cuda/cuda_accelerator.h"
#include "devices/cuda/cuda_error.h"
#include "devices/cuda/cuda_queue.h"
#include "engine/run/device.h"
#include "kernels/host_kernels.h"
#include "tests/devices/cuda/fake_cuda.h"

namespace sluice {

template <typename Arguments>
void run_at_once(Queue& queue, const Arguments& arguments) {
  static_cast<void>(static_cast<CudaQueue&>(queue).native());
  check_cuda(FakeCuda::api(), FakeCuda::launch(), "start a kernel");
  Workers worker(1);
  run_on_host(worker, arguments);
}

inline const KernelTable& kernels_at_once() {
  static const KernelTable table{
      .matmul = run_at_once<Matmul>,
      .column_sum = run_at_once<ColumnSum>,
      .norm = run_at_once<Norm>,
      .norm_backward = run_at_once<NormBackward>,
      .gelu = run_at_once<Gelu>,
      .gelu_backward = run_at_once<GeluBackward>,
      .swiglu = run_at_once<SwiGlu>,
      .swiglu_backward = run_at_once<SwiGluBackward>,
      .rope = run_at_once<Rope>,
      .attention = run_at_once<Attention>,
      .attention_backward = run_at_once<AttentionBackward>,
      .embedding = run_at_once<Embedding>,
      .embedding_backward = run_at_once<EmbeddingBackward>,
      .cross_entropy = run_at_once<CrossEntropy>,
      .sum = run_at_once<Sum>,
      .add = run_at_once<Add>,
      .cast = run_at_once<Cast>,
      .fill_zero = run_at_once<FillZero>,
      .squared_norm = run_at_once<SquaredNorm>,
      .finish_norm = run_at_once<FinishNorm>,
      .adamw = run_at_once<AdamW>,
      .digest = run_at_once<Digest>,
  };
  return table;
}

// For TrainOptions: every name means the fake.
inline Devices fake_gpus() {
  return {.choose =
              [](const std::string& /*name*/) {
                const CudaDevice device = choose_cuda_device(FakeCuda::api(), "");
                return DeviceChoice{.kind = "cuda",
                                    .bus_id = device.bus_id,
                                    .description = describe(device),
                                    .memory = device.memory};
              },
          .open =
              [](const std::string& /*kind*/, const AcceleratorOptions& options) {
                return OpenDevice{
                    .accelerator = std::make_unique<CudaAccelerator>(FakeCuda::api(), options),
                    .kernels = &kernels_at_once()};
              }};
}

}  // namespace sluice

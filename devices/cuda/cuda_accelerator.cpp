// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_accelerator.h"

#include <fmt/format.h>

#include <algorithm>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/cuda/cuda.h"
#include "devices/cuda/cuda_arena.h"
#include "devices/cuda/cuda_error.h"
#include "devices/cuda/cuda_queue.h"

namespace sluice {
namespace {

// Code and state that kernels, cuBLASLt and cuDNN load at their first call, which
// is after the arena was taken. An estimate, made without a GPU; to be replaced
// by what the kernels measure of it (free_memory()).
constexpr Bytes kLibraries{std::int64_t{768} << 20};

}  // namespace

CudaAccelerator::CudaAccelerator(const CudaApi& api, const AcceleratorOptions& options)
    : device_(choose_cuda_device(api, options.bus_id)),
      context_(api, device_.index),
      threads_(options.threads) {
  check_cuda(api, api.set_device(device_.index), fmt::format("use the {}", describe(device_)),
             CudaPhase::kStart);
  clock_ = std::make_shared<CudaClock>(context_);
  // The context and the first stream exist now: what they took is measured, being gone.
  capacity_ = std::max(free_memory() - kLibraries, Bytes{});
  if (options.capacity.value > 0) capacity_ = std::min(capacity_, options.capacity);
}

Bytes CudaAccelerator::free_memory() const {
  context_.enter();
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(context_.api(), context_.api().memory_info(&free, &total),
             "ask for the GPU's free memory", CudaPhase::kStart);
  return {static_cast<std::int64_t>(free)};
}

std::unique_ptr<Arena> CudaAccelerator::reserve_device(Bytes size) {
  if (size > capacity_) {
    throw Error(ErrorKind::kNoFit,
                fmt::format("device memory of {} asked for, the {} leaves {} (other processes, "
                            "the context and libraries have the rest): lower --limits.device",
                            format_bytes(size), describe(device_), format_bytes(capacity_)));
  }
  return std::make_unique<CudaDeviceArena>(context_, size);
}

std::unique_ptr<Arena> CudaAccelerator::reserve_host(Bytes size) {
  return std::make_unique<CudaHostArena>(
      context_,
      MappedMemoryOptions{.size = size, .threads = threads_, .numa_node = device_.numa_node});
}

std::unique_ptr<Queue> CudaAccelerator::create_queue(QueueKind /*kind*/, std::size_t marks_kept) {
  return std::make_unique<CudaQueue>(context_, clock_, marks_kept);
}

std::unique_ptr<Accelerator> make_cuda_accelerator(const AcceleratorOptions& options) {
  return std::make_unique<CudaAccelerator>(cuda_api(), options);
}

std::vector<std::string> cuda_device_summary() {
  try {
    std::vector<std::string> lines;
    for (const CudaDevice& device : cuda_devices(cuda_api())) lines.push_back(describe(device));
    return lines;
  } catch (const Error& error) {
    return {error.what()};
  }
}

}  // namespace sluice

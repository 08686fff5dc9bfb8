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

CudaAccelerator::CudaAccelerator(const CudaApi& api, const AcceleratorOptions& options)
    : device_(choose_cuda_device(api, options.bus_id)),
      context_(api, device_.index),
      threads_(options.threads),
      most_(options.capacity) {
  check_cuda(api, api.set_device(device_.index), fmt::format("use the {}", describe(device_)),
             CudaPhase::kStart);
  clock_ = std::make_shared<CudaClock>(context_);  // with the context, the first to take memory
}

Bytes CudaAccelerator::capacity() const {
  context_.enter();
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(context_.api(), context_.api().memory_info(&free, &total),
             "ask for the GPU's free memory", CudaPhase::kStart);
  const Bytes there{static_cast<std::int64_t>(free)};
  return most_.value > 0 ? std::min(there, most_) : there;
}

std::unique_ptr<Arena> CudaAccelerator::reserve_device(Bytes size) {
  const Bytes there = capacity();
  if (size > there) {
    throw Error(ErrorKind::kNoFit,
                fmt::format("device memory of {} asked for, the {} leaves {} (other processes, "
                            "the context and libraries have the rest): lower --limits.device",
                            format_bytes(size), describe(device_), format_bytes(there)));
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

DeviceChoice choose_cuda(const std::string& which) {
  const CudaDevice device = choose_cuda_device(cuda_api(), which);
  return {.kind = "cuda",
          .bus_id = device.bus_id,
          .description = describe(device),
          .memory = device.memory};
}

bool cuda_driver_is_loaded(const std::filesystem::path& root) {
  std::error_code unreadable;
  return std::filesystem::exists(root / "proc/driver/nvidia/version", unreadable);
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

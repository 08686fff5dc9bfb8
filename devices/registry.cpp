// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/registry.h"

#include <fmt/format.h>

#include "devices/base/error.h"
#include "devices/cuda/cuda.h"
#include "devices/host/host_accelerator.h"

namespace sluice {

std::unique_ptr<Accelerator> make_accelerator(const std::string& kind,
                                              const AcceleratorOptions& options) {
  if (kind == "host") return std::make_unique<HostAccelerator>(options);
  if (kind == "cuda") return make_cuda_accelerator(options);
  throw Error(ErrorKind::kConfig,
              fmt::format("no device of kind '{}': expected \"host\" or \"cuda\"", kind));
}

std::vector<std::string> gpu_summary() { return cuda_device_summary(); }

}  // namespace sluice

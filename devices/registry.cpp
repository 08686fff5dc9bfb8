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

DeviceChoice choose_device(const std::string& name) {
  const std::string gpu = "cuda";
  if (name == "host") return {};
  if (name == gpu) return choose_cuda("");
  if (name.starts_with(gpu + ":")) return choose_cuda(name.substr(gpu.size() + 1));
  if (name.find(':') != std::string::npos) return choose_cuda(name);
  if (name != "auto") {
    throw Error(ErrorKind::kConfig,
                fmt::format("no device '{}': expected \"auto\", \"host\", \"cuda\", \"cuda:1\" or "
                            "a PCI bus id",
                            name));
  }
  try {
    return choose_cuda("");
  } catch (const Error& error) {
    return {.note = cuda_driver_is_loaded() ? error.what() : ""};
  }
}

std::vector<std::string> gpu_summary() { return cuda_device_summary(); }

}  // namespace sluice

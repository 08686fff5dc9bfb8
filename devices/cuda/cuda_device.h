// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Which GPUs there are, and whether this build can work on one.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/units.h"
#include "devices/cuda/cuda_api.h"

namespace sluice {

struct CudaDevice {
  int index = 0;       // the runtime's
  std::string name;    // "NVIDIA H200"
  std::string bus_id;  // "0000:17:00.0"
  Bytes memory;        // of the whole device
  int major = 0;       // compute capability
  int minor = 0;
  int numa_node = -1;  // of the host memory next to it; -1: not known
};

// All that the driver shows, without creating a context on any. At least one.
// Errors: cuda_error with the reason why there is none.
std::vector<CudaDevice> cuda_devices(const CudaApi& api);

// The device of `which`: a bus id ("0000:17:00.0" or "17:00.0"), a number in the
// driver's order, or, where it is empty, the first that this build has kernels for.
// Errors: as above; kConfig for one that is not there, naming those that are, and
// for a device that no kernel of this build runs on.
CudaDevice choose_cuda_device(const CudaApi& api, const std::string& which);

// "NVIDIA H200, 0000:17:00.0, 139.8 GiB, compute capability 9.0".
std::string describe(const CudaDevice& device);

// Whether code for `architectures` (as CMAKE_CUDA_ARCHITECTURES: "80;90a;100f-real",
// or with commas) runs on compute capability major.minor.
bool runs_on(std::string_view architectures, int major, int minor);

// The NUMA node of a PCI device, or -1. `root` stands before /sys, for tests.
int numa_node_of(std::string bus_id, const std::filesystem::path& root = "/");

}  // namespace sluice

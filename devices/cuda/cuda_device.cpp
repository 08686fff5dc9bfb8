// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {
namespace {

CudaDevice device_at(const CudaApi& api, int index) {
  CudaProperties properties;
  check_cuda(api, api.properties(&properties, index), "ask for the properties of a GPU",
             CudaPhase::kStart);
  return {.index = index,
          .name = properties.name,
          .bus_id = properties.bus_id,
          .memory = {static_cast<std::int64_t>(properties.memory)},
          .major = properties.major,
          .minor = properties.minor,
          .numa_node = numa_node_of(properties.bus_id)};
}

// One entry of the list, "90a-real": 10 * major + minor, then what narrows it.
bool entry_runs_on(std::string_view entry, int major, int minor) {
  int number = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), number);
  if (error != std::errc{}) return entry.starts_with("all") || entry == "native";
  const std::string_view rest = entry.substr(static_cast<std::size_t>(end - entry.data()));
  const int device = 10 * major + minor;
  if (rest.starts_with('a')) return device == number;
  if (major == number / 10) return device >= number;
  // Later generations compile PTX, which "f" and "-real" do not hold for them.
  return device > number && (rest.empty() || rest == "-virtual");
}

// Of the device that `which` names by number or bus id.
std::ptrdiff_t index_of(const CudaApi& api, const std::vector<CudaDevice>& devices,
                        const std::string& which) {
  int index = -1;
  const bool is_number =
      std::all_of(which.begin(), which.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (is_number) {
    std::from_chars(which.data(), which.data() + which.size(), index);
  } else if (api.device_by_bus_id(&index, which.c_str()) != kCudaSuccess) {
    api.forget_error();
    index = -1;
  }
  if (index >= 0 && index < static_cast<int>(devices.size())) return index;
  std::vector<std::string> there;
  for (const CudaDevice& device : devices) there.push_back(device.bus_id);
  throw Error(ErrorKind::kConfig, fmt::format("there is no GPU {}: the driver shows {}, from 0",
                                              which, fmt::join(there, ", ")));
}

}  // namespace

bool runs_on(std::string_view architectures, int major, int minor) {
  while (!architectures.empty()) {
    const std::size_t end = std::min(architectures.find_first_of(";,"), architectures.size());
    if (entry_runs_on(architectures.substr(0, end), major, minor)) return true;
    architectures.remove_prefix(std::min(end + 1, architectures.size()));
  }
  return false;
}

int numa_node_of(std::string bus_id, const std::filesystem::path& root) {
  std::transform(bus_id.begin(), bus_id.end(), bus_id.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::ifstream file(root / "sys/bus/pci/devices" / bus_id / "numa_node");
  int node = -1;
  return file >> node ? node : -1;
}

std::vector<CudaDevice> cuda_devices(const CudaApi& api) {
  int count = 0;
  check_cuda(api, api.device_count(&count), "find a GPU", CudaPhase::kStart);
  if (count == 0) throw cuda_error(api, kCudaNoDevice, "find a GPU", CudaPhase::kStart);
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) devices.push_back(device_at(api, i));
  return devices;
}

CudaDevice choose_cuda_device(const CudaApi& api, const std::string& which) {
  const std::vector<CudaDevice> devices = cuda_devices(api);
  const auto fits = [&](const CudaDevice& device) {
    return runs_on(api.architectures, device.major, device.minor);
  };
  auto chosen = which.empty() ? std::find_if(devices.begin(), devices.end(), fits)
                              : devices.begin() + index_of(api, devices, which);
  if (chosen == devices.end()) chosen = devices.begin();
  if (!fits(*chosen)) {
    throw cuda_error(api, kCudaNoKernelImage, fmt::format("use the {}", describe(*chosen)),
                     CudaPhase::kStart);
  }
  return *chosen;
}

std::string describe(const CudaDevice& device) {
  return fmt::format("{}, {}, {}, compute capability {}.{}", device.name, device.bus_id,
                     format_bytes(device.memory), device.major, device.minor);
}

}  // namespace sluice

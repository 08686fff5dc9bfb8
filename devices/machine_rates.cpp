// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// What is worked out of a Machine; its file format is machine_file.cpp's.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "devices/base/error.h"
#include "devices/machine_file.h"

namespace sluice {
namespace {

double squared(double x) { return x * x; }

// FNV-1a: stable over builds and machines, unlike std::hash.
std::uint64_t stable_hash(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

// FLOP/s of one core in a large product, at about half of what was measured on
// machines of 2024.
double core_rate(const std::string& simd, DType dtype) {
  const bool bf16 = dtype == DType::kBFloat16;
  if (simd == "AVX-512 bf16") return bf16 ? 200e9 : 100e9;
  if (simd == "AVX-512") return bf16 ? 60e9 : 80e9;
  if (simd == "AVX2" || simd == "NEON") return bf16 ? 30e9 : 40e9;
  return bf16 ? 4e9 : 5e9;
}

// A data-centre GPU of 2021 with a slow link, and less.
void assume_gpu(const DeviceChoice& device, Machine& machine) {
  machine.name += " with " + device.description;
  machine.device = device.kind;
  machine.device_capacity = device.memory;
  machine.host_to_device = machine.device_to_host = {6e9};
  machine.duplex_factor = 0.8;
  machine.attention_fp32 = 1e12;
  machine.attention_bf16 = 5e12;
  machine.elementwise = {200e9};
  machine.gemm = {{DType::kFloat32, 1024, 1024, 1024, 5e12},
                  {DType::kBFloat16, 1024, 1024, 1024, 20e12},
                  {DType::kFloat32, 64, 64, 64, 0.1e12},
                  {DType::kBFloat16, 64, 64, 64, 0.1e12}};
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  static_cast<void>(::gethostname(name.data(), name.size() - 1));
  return name.data();
}

Machine default_machine(const MachineLimits& limits, const DeviceChoice& device) {
  const double cores = std::min(limits.cpu.physical_cores, limits.cpu.threads);
  const BytesPerSecond memory{std::min(60e9, 10e9 + 5e9 * cores)};
  const double fp32 = cores * core_rate(limits.simd, DType::kFloat32);
  const double bf16 = cores * core_rate(limits.simd, DType::kBFloat16);
  Machine machine;
  machine.name = limits.cpu_model;
  machine.provenance = "defaults";
  machine.device_capacity = limits.ram.available;
  machine.host_capacity = limits.ram.available;
  machine.storage_capacity = {std::int64_t{1} << 40};
  machine.cores = static_cast<int>(cores);
  machine.host_to_device = machine.device_to_host = {memory.value / 4};
  machine.duplex_factor = 0.5;  // two copies share one memory
  machine.link_latency = Seconds{20e-6};
  machine.memory = memory;
  machine.storage_read = {0.8e9};
  machine.storage_write = {0.5e9};
  machine.storage_block = {std::int64_t{1} << 20};
  machine.storage_latency = Seconds{200e-6};
  machine.storage_mixed_factor = 0.4;
  machine.attention_fp32 = fp32 / 4;
  machine.attention_bf16 = bf16 / 4;
  machine.elementwise = {memory.value / 2};
  machine.launch = Seconds{10e-6};
  for (const auto& [dtype, rate] : {std::pair{DType::kFloat32, fp32}, {DType::kBFloat16, bf16}}) {
    machine.gemm.push_back({dtype, 1024, 1024, 1024, rate});
    machine.gemm.push_back({dtype, 128, 128, 128, rate / 2});
    machine.gemm.push_back({dtype, 16, 64, 64, rate / 8});
  }
  machine.host_adam = {memory.value * 0.7};
  if (device.kind != "host") assume_gpu(device, machine);
  return machine;
}

std::filesystem::path cached_machine_path(const MachineLimits& limits, const DeviceChoice& device) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder = cache != nullptr ? cache : "";
  if (!folder.is_absolute()) {  // as the XDG specification asks
    folder = std::filesystem::path(home != nullptr ? home : "/tmp") / ".cache";
  }
  // Kernels of one machine differ by a few pages in what they keep for themselves.
  const std::int64_t ram = limits.ram.total.value >> 28;
  std::string key = fmt::format("{}|{}|{}", limits.cpu_model, limits.cpu.threads, ram);
  if (!device.description.empty()) key += "|" + device.description;
  return folder / "sluice" / fmt::format("machine-{:016x}.toml", stable_hash(key));
}

Machine with_cores(Machine machine, int cores) {
  if (cores >= machine.cores) return machine;
  const double part = static_cast<double>(cores) / machine.cores;
  machine.cores = cores;
  machine.host_adam.value *= part;
  if (machine.device != "host") return machine;
  for (GemmPoint& point : machine.gemm) point.flops_per_second *= part;
  for (AttentionPoint& point : machine.attention) point.flops_per_second *= part;
  machine.attention_fp32 *= part;
  machine.attention_bf16 *= part;
  machine.elementwise.value *= part;
  return machine;
}

double gemm_rate(const Machine& machine, DType dtype, double m, double n, double k) {
  SLUICE_CHECK(!machine.gemm.empty());
  const auto far = [&](const GemmPoint& point) {
    return squared(std::log(std::max(m, 1.0) / static_cast<double>(point.m))) +
           squared(std::log(std::max(n, 1.0) / static_cast<double>(point.n))) +
           squared(std::log(std::max(k, 1.0) / static_cast<double>(point.k)));
  };
  // The other type counts only where this one has no point at all.
  constexpr double other_type = 1e12;
  double least = std::numeric_limits<double>::infinity();
  double rate = 0;
  for (const GemmPoint& point : machine.gemm) {
    const double distance = far(point) + (point.dtype == dtype ? 0 : other_type);
    if (distance >= least) continue;
    least = distance;
    rate = point.flops_per_second;
  }
  return rate;
}

double attention_rate(const Machine& machine, DType dtype, double length) {
  double rate = dtype == DType::kFloat32 ? machine.attention_fp32 : machine.attention_bf16;
  double least = std::numeric_limits<double>::infinity();
  for (const AttentionPoint& point : machine.attention) {
    const double distance = std::abs(std::log(length / static_cast<double>(point.length)));
    if (point.dtype != dtype || distance >= least) continue;
    least = distance;
    rate = point.flops_per_second;
  }
  return rate;
}

Seconds copy_time(const Machine& machine, QueueKind kind, Bytes size) {
  const bool down = kind == QueueKind::kHostToDevice;
  if (machine.copies.empty()) {
    return machine.link_latency + size / (down ? machine.host_to_device : machine.device_to_host);
  }
  const auto far = [size](const CopyPoint& point) {
    return std::abs(std::log(static_cast<double>(std::max<std::int64_t>(size.value, 1)) /
                             static_cast<double>(point.size.value)));
  };
  const CopyPoint& point =
      *std::min_element(machine.copies.begin(), machine.copies.end(),
                        [&](const auto& a, const auto& b) { return far(a) < far(b); });
  return std::max(machine.link_latency,
                  size / (down ? point.host_to_device : point.device_to_host));
}

LinkPace link_pace(const Machine& machine, QueueKind kind) {
  if (!machine.paced || kind == QueueKind::kCompute) return {};
  const bool down = kind == QueueKind::kHostToDevice;
  return {down ? machine.host_to_device : machine.device_to_host, machine.link_latency};
}

}  // namespace sluice

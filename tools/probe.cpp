// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/machine_file.h"
#include "devices/machine_text.h"
#include "devices/probe/probe.h"
#include "devices/registry.h"
#include "engine/run/limits.h"
#include "kernels/rates.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {
namespace {

// Products as they occur: tokens by width by width, and a weight gradient.
constexpr std::array<std::array<std::int64_t, 3>, 5> kShapes = {
    {{1024, 256, 256}, {1024, 1024, 256}, {2048, 1024, 1024}, {2048, 3072, 768}, {768, 768, 2048}}};

void measure_compute(Machine& machine, int threads, bool quick) {
  const auto accelerator = make_accelerator("host", {.threads = threads});
  const auto arena = accelerator->reserve_device(RateMeter::kMemory);
  const auto queue = accelerator->create_queue(QueueKind::kCompute, 4);
  const std::span<std::byte> memory{arena->base(), count(arena->size())};
  RateMeter meter(*queue, kernels_for(accelerator->kind()), memory, quick);
  machine.gemm.clear();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [m, n, k] : kShapes) {
      machine.gemm.push_back({.dtype = dtype,
                              .m = m,
                              .n = n,
                              .k = k,
                              .flops_per_second = meter.matmul(dtype, m, n, k)});
    }
  }
  machine.attention_fp32 = meter.attention(DType::kFloat32);
  machine.attention_bf16 = meter.attention(DType::kBFloat16);
  machine.elementwise = meter.elementwise();
  machine.launch = measure_launch(*accelerator);
  const LinkRates links = measure_links(*accelerator, quick);
  machine.host_to_device = links.host_to_device;
  machine.device_to_host = links.device_to_host;
  machine.duplex_factor = links.duplex_factor;
  machine.link_latency = links.latency;
  Workers workers(threads);
  machine.host_adam = measure_host_adam(workers, memory, quick);
  machine.memory = measure_memory_update(workers, quick);
}

Machine measure(const std::filesystem::path& folder, bool quick) {
  const MachineLimits limits = effective_limits();
  Machine machine = default_machine(limits);
  std::array<char, 256> host{};
  static_cast<void>(gethostname(host.data(), host.size() - 1));
  machine.name = host.data();
  machine.provenance = "measured";
  machine.cores = limits.cpu.physical_cores;
  measure_compute(machine, limits.cpu.threads, quick);
  const StorageRates storage = measure_storage(folder, Bytes{quick ? 128 << 20 : 512 << 20}, quick);
  machine.storage_read = storage.read;
  machine.storage_write = storage.write;
  machine.storage_block = storage.block;
  machine.storage_depth = storage.depth;
  machine.storage_latency = storage.latency;
  machine.storage_mixed_factor = storage.mixed_factor;
  machine.storage_capacity = folder_limits(folder).free;
  return machine;
}

std::string table_of(const Machine& m) {
  std::string text = fmt::format("machine {}: {} cores\n", m.name, m.cores);
  const auto row = [&](const std::string& what, const std::string& value) {
    text += fmt::format("  {:<32}{}\n", what, value);
  };
  const auto flops = [](double rate) { return fmt::format("{:.1f} GFLOP/s", rate / 1e9); };
  for (const GemmPoint& point : m.gemm) {
    row(fmt::format("gemm {} {}x{}x{}", name_of(point.dtype), point.m, point.n, point.k),
        flops(point.flops_per_second));
  }
  row("attention fp32", flops(m.attention_fp32));
  row("attention bf16", flops(m.attention_bf16));
  row("elementwise", format_rate(m.elementwise));
  row("kernel launch", format_seconds(m.launch));
  row("host to device", format_rate(m.host_to_device));
  row("device to host", format_rate(m.device_to_host));
  row("memory (update in place)", format_rate(m.memory));
  row("Adam on the host", format_rate(m.host_adam));
  row("storage read", format_rate(m.storage_read));
  row("storage write", format_rate(m.storage_write));
  row("storage, both at once", fmt::format("{:.2f} of the sum", m.storage_mixed_factor));
  return text;
}

}  // namespace

int run_probe(const ProbeOptions& options) {
  // What cannot be had is refused before the seconds of measuring.
  check_storage_folder(options.storage);
  const std::filesystem::path cached = cached_machine_path(effective_limits());
  if (options.out.empty()) std::filesystem::create_directories(cached.parent_path());
  require_writable(options.out.empty() ? cached.string() : options.out);
  log_info("measuring; other work on this machine would spoil the figures");
  const Machine machine = measure(options.storage, options.quick);
  if (options.out == "-") {
    log_info(table_of(machine));
    write_output("-", to_toml(machine));
    return 0;
  }
  fmt::print("{}", table_of(machine));
  if (options.out.empty()) {
    save_machine(machine, cached);
    fmt::print("{}\n", cached.string());
  } else {
    write_output(options.out, to_toml(machine));
    fmt::print("{}\n", options.out);
  }
  return 0;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/machine_file.h"
#include "devices/machine_text.h"
#include "devices/probe/probe.h"
#include "devices/registry.h"
#include "engine/run/device.h"
#include "engine/run/limits.h"
#include "kernels/rates.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {
namespace {

using Shape = std::array<std::int64_t, 3>;

// How much is measured on a kind of device.
struct Plan {
  std::vector<Shape> products;                         // m, n, k
  std::vector<std::array<std::int64_t, 2>> attention;  // length, width of a head
  std::int64_t elementwise = 0;                        // numbers
  Bytes memory;
};

// Products as they occur: tokens by width by width, and a weight gradient, down to those of a
// model that fits a small device, where starting the threads counts. Elementwise work
// is that of a block's activations, larger than the inner caches.
Plan plan_for(const std::string& kind, Bytes capacity) {
  if (kind == "host") {
    return {.products = {{256, 256, 256},
                         {256, 768, 256},
                         {1024, 256, 256},
                         {1024, 1024, 256},
                         {2048, 1024, 1024},
                         {2048, 3072, 768},
                         {768, 768, 2048}},
            .attention = {{256, 64}},
            .elementwise = 8 << 20,
            .memory = RateMeter::kMemory};
  }
  Plan plan{.products = {{1024, 1024, 1024},
                         {4096, 4096, 4096},
                         {16384, 768, 768},
                         {16384, 3072, 768},
                         {768, 768, 16384}},
            .attention = {{1024, 64}, {1024, 128}, {4096, 128}},
            .elementwise = 24 << 20,
            .memory = Bytes{320 << 20}};
  if (capacity.value > std::int64_t{4} << 30) {
    plan.products.push_back({8192, 8192, 8192});
    plan.elementwise = 64 << 20;
    plan.memory = Bytes{std::int64_t{1} << 30};
  }
  return plan;
}

void measure_compute(const OpenDevice& device, const Plan& plan, bool quick, Machine& machine) {
  const Bytes scratch = queue_scratch_for(machine.device);
  const auto arena = device.accelerator->reserve_device(plan.memory + scratch);
  const auto queue = device.accelerator->create_queue(QueueKind::kCompute, 4);
  queue->lend({arena->base() + plan.memory.value, scratch});
  RateMeter meter(*queue, *device.kernels, {arena->base(), count(plan.memory)}, quick);
  machine.gemm.clear();
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [m, n, k] : plan.products) {
      machine.gemm.push_back({.dtype = dtype,
                              .m = m,
                              .n = n,
                              .k = k,
                              .flops_per_second = meter.matmul(dtype, m, n, k)});
    }
  }
  const auto& [length, width] = plan.attention.front();
  machine.attention_fp32 = meter.attention(DType::kFloat32, length, width);
  machine.attention_bf16 = meter.attention(DType::kBFloat16, length, width);
  machine.attention.clear();
  for (const auto& [l, w] : plan.attention) {
    if (plan.attention.size() < 2) continue;
    machine.attention.push_back({.dtype = DType::kBFloat16,
                                 .length = l,
                                 .head_width = w,
                                 .flops_per_second = meter.attention(DType::kBFloat16, l, w)});
  }
  machine.elementwise = meter.elementwise(plan.elementwise);
  machine.launch = meter.launch();
}

// Twice what the caches hold, as far as an eighth of the RAM allows: training's state never
// waits in a cache.
Bytes beyond_caches(const MachineLimits& limits) {
  return std::max(RateMeter::kMemory,
                  std::min(limits.cpu.last_level_cache * 2, Bytes{limits.ram.total.value / 8}));
}

void measure_moves(const OpenDevice& device, const MachineLimits& limits, bool quick,
                   Machine& machine) {
  const LinkRates links = measure_links(*device.accelerator, quick);
  machine.host_to_device = links.host_to_device;
  machine.device_to_host = links.device_to_host;
  machine.duplex_factor = links.duplex_factor;
  machine.link_latency = links.latency;
  Workers workers(limits.cpu.threads);
  const Bytes total = beyond_caches(limits);
  machine.memory = measure_memory_update(workers, total, quick);
  const auto memory = device.accelerator->reserve_host(total);
  const std::span<std::byte> bytes{memory->base(), count(memory->size())};
  machine.host_adam = measure_host_adam(workers, bytes, quick);
  if (machine.device == "host") return;
  machine.copies = measure_copies(*device.accelerator, /*pinned=*/true, quick);
  machine.pageable_copies = measure_copies(*device.accelerator, /*pinned=*/false, quick);
  machine.pageable_to_device = machine.pageable_copies.back().host_to_device;
  machine.pageable_to_host = machine.pageable_copies.back().device_to_host;
  BytesPerSecond beside;
  const Seconds about{quick ? 0.2 : 1.0};
  measure_beside_copies(*device.accelerator, links, about,
                        [&] { beside = measure_host_adam(workers, bytes, /*quick=*/true); });
  machine.adam_beside_copies = std::min(1.0, beside.value / machine.host_adam.value);
}

Machine measure(const DeviceChoice& choice, const std::filesystem::path& folder, bool quick) {
  const MachineLimits limits = effective_limits();
  Machine machine = default_machine(limits, choice);
  machine.name = host_name();
  machine.provenance = "measured";
  machine.cores = limits.cpu.physical_cores;
  const OpenDevice device =
      open_device(choice.kind, accelerator_options(machine, choice, limits.cpu.threads));
  machine.device_capacity = device.accelerator->capacity();
  if (choice.kind != "host") machine.name += ", " + choice.description;
  measure_compute(device, plan_for(choice.kind, machine.device_capacity), quick, machine);
  measure_moves(device, limits, quick, machine);
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
  for (const AttentionPoint& point : m.attention) {
    row(fmt::format("attention bf16 {} tokens, heads of {}", point.length, point.head_width),
        flops(point.flops_per_second));
  }
  row("elementwise", format_rate(m.elementwise));
  row("kernel launch", format_seconds(m.launch));
  row("host to device", format_rate(m.host_to_device));
  row("device to host", format_rate(m.device_to_host));
  for (const CopyPoint& point : m.copies) {
    row(fmt::format("copies of {}", format_bytes(point.size)),
        fmt::format("{} down, {} up, {:.2f} of the sum both at once",
                    format_rate(point.host_to_device), format_rate(point.device_to_host),
                    point.duplex_factor));
  }
  if (m.pageable_to_device.value > 0) {
    row("from and to pageable memory",
        fmt::format("{}, {}", format_rate(m.pageable_to_device), format_rate(m.pageable_to_host)));
    row("Adam beside busy links", fmt::format("{:.2f} of its rate", m.adam_beside_copies));
  }
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
  const DeviceChoice device = choose_device(options.accelerator);
  const std::filesystem::path cached = cached_machine_path(effective_limits(), device);
  if (options.out.empty()) std::filesystem::create_directories(cached.parent_path());
  require_writable(options.out.empty() ? cached.string() : options.out);
  if (!device.note.empty()) log_warn(fmt::format("measuring the host device: {}", device.note));
  log_info("measuring; other work on this machine would spoil the figures");
  const Machine machine = measure(device, options.storage, options.quick);
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

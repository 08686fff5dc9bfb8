// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/limits.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "engine/config/place_rules.h"

namespace sluice {
namespace {

constexpr std::int64_t kLeastReserve = std::int64_t{512} << 20;

// What stays free for the process itself and the rest of the machine.
Bytes less_reserve(Bytes total) {
  const std::int64_t reserve = std::max(kLeastReserve, total.value / 20);
  return {std::max<std::int64_t>(0, total.value - reserve) / 4096 * 4096};
}

std::optional<Tier> tier_of(HomeChoice choice) {
  switch (choice) {
    case HomeChoice::kAuto:
      return std::nullopt;
    case HomeChoice::kDevice:
      return Tier::kDevice;
    case HomeChoice::kHost:
      return Tier::kHost;
    case HomeChoice::kStorage:
      return Tier::kStorage;
  }
  return std::nullopt;
}

LayerName name_of_layer(std::size_t layer, std::size_t layers) {
  if (layer == 0) return {.kind = LayerName::Kind::kEmbedding};
  if (layer + 1 == layers) return {.kind = LayerName::Kind::kHead};
  return {.kind = LayerName::Kind::kBlock, .block = static_cast<std::int64_t>(layer) - 1};
}

void refuse_above(const char* key, Bytes asked, Bytes there, const std::string& source) {
  throw Error(ErrorKind::kNoFit,
              fmt::format("{} is {}, but {} leaves {}: lower it, or leave it out", key,
                          format_bytes(asked), source, format_bytes(there)));
}

// One RAM for device and host.
void host_device_limits(const LimitsConfig& config, const RamLimit& ram, bool may_exceed,
                        TierLimits& limits) {
  const Bytes there = less_reserve(ram.available);
  const std::string source = ram.source + " less a reserve";
  limits.capacity[0] = config.device.value_or(there);
  limits.capacity[1] = config.host.value_or(there);
  limits.source[0] = config.device ? "limits.device" : source;
  limits.source[1] = config.host ? "limits.host" : source;
  const Bytes asked = config.device.value_or(Bytes{}) + config.host.value_or(Bytes{});
  limits.shared_ram = may_exceed ? std::max(there, asked) : there;
  limits.shared_source = source + " (device and host share it)";
  if (may_exceed) return;
  if (config.device && *config.device > there) {
    refuse_above("limits.device", *config.device, there, source);
  }
  if (config.host && *config.host > there) refuse_above("limits.host", *config.host, there, source);
  if (asked > there) {
    refuse_above("limits.device + limits.host, which share the RAM,", asked, there, source);
  }
}

}  // namespace

ChosenMachine choose_machine(const std::optional<std::filesystem::path>& file,
                             const MachineLimits& limits) {
  if (file) {
    ChosenMachine chosen{.machine = load_machine(*file)};
    chosen.here = chosen.machine.device == "host";
    return chosen;
  }
  const std::filesystem::path cached = cached_machine_path(limits);
  std::error_code unreadable;
  if (std::filesystem::exists(cached, unreadable)) return {.machine = load_machine(cached)};
  log_info("machine: not measured, conservative defaults; `sluice probe` measures it");
  return {.machine = default_machine(limits)};
}

TierLimits resolve_limits(const LimitsConfig& config, const MachineLimits& machine_limits,
                          const ChosenMachine& chosen, const std::filesystem::path& storage_folder,
                          bool may_exceed) {
  TierLimits limits;
  const Machine& machine = chosen.machine;
  if (chosen.here) {
    host_device_limits(config, machine_limits.ram, may_exceed, limits);
  } else {
    limits.capacity = {config.device.value_or(less_reserve(machine.device_capacity)),
                       config.host.value_or(less_reserve(machine.host_capacity))};
    limits.source = {config.device ? "limits.device" : "machine file",
                     config.host ? "limits.host" : "machine file"};
  }
  Bytes& storage = limits.capacity[2];
  if (!chosen.here) {
    storage = config.storage.value_or(machine.storage_capacity);
    limits.source[2] = config.storage ? "limits.storage" : "machine file";
    return limits;
  }
  // The first folder above that exists: the run directory may be made later.
  std::filesystem::path folder = std::filesystem::absolute(storage_folder);
  while (!std::filesystem::exists(folder) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  const FolderLimits disk = folder_limits(folder);
  const bool usable = disk.file_system.kind != FileSystemKind::kMemory;
  const Bytes free = usable ? less_reserve(disk.free) : Bytes{};
  storage = config.storage.value_or(free);
  limits.source[2] = config.storage ? "limits.storage"
                     : usable       ? fmt::format("free disk of {} less a reserve", folder.string())
                              : fmt::format("{} is a {}", folder.string(), disk.file_system.name);
  if (!may_exceed && config.storage && *config.storage > free && usable) {
    refuse_above("limits.storage", *config.storage, free,
                 fmt::format("the free disk of {} less a reserve", folder.string()));
  }
  return limits;
}

void check_storage_folder(const std::filesystem::path& folder) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kIo, fmt::format("limits.storage_path {}: {}; give a folder on a drive",
                                            folder.string(), what));
  };
  if (!std::filesystem::exists(folder)) refuse("there is no such folder");
  if (!std::filesystem::is_directory(folder)) refuse("is not a folder");
  const FileSystem system = file_system_of(folder);
  if (system.kind == FileSystemKind::kMemory) {
    refuse(fmt::format("is on {}, which keeps its files in RAM", system.name));
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) refuse("cannot be written");
}

PlanRequest plan_request(const RunConfig& config, const Workload& workload) {
  const PlaceConfig& place = config.place;
  PlanRequest request;
  const std::size_t layers = workload.layers.size();
  // A flat parameter follows the rule of the first layer that uses it.
  request.weights.resize(workload.flats.size());
  request.gradients.resize(workload.flats.size());
  request.states.resize(workload.flats.size());
  request.activations.resize(layers);
  for (std::size_t l = layers; l-- > 0;) {
    const LayerName name = name_of_layer(l, layers);
    request.activations[l] = tier_of(home_of(place.activations, name));
    for (const int flat : workload.layers[l].flats) {
      const auto f = static_cast<std::size_t>(flat);
      request.weights[f] = tier_of(home_of(place.weights, name));
      request.gradients[f] = tier_of(home_of(place.gradients, name));
      request.states[f] = tier_of(home_of(place.optimizer, name));
    }
  }
  if (place.adam != AdamPlace::kAuto) request.adam_on_device = place.adam == AdamPlace::kDevice;
  if (place.recompute != RecomputeChoice::kAuto) {
    request.recompute = place.recompute == RecomputeChoice::kFull;
  }
  if (place.update != UpdateTiming::kAuto) {
    request.deferred = place.update == UpdateTiming::kDeferred;
  }
  if (place.wave) request.wave = static_cast<int>(place.wave->micro_batches);
  if (place.fetch_ahead) request.fetch_ahead = static_cast<int>(*place.fetch_ahead);
  if (place.drain_late) request.drain_late = static_cast<int>(*place.drain_late);
  request.segment = place.segment;
  if (config.train.micro_batch > 0) request.sequences = config.train.micro_batch;
  request.global_batch = config.train.global_batch;
  request.groups = static_cast<int>(config.train.groups);
  request.clips = config.train.clip > 0 || config.train.on_nonfinite == OnNonFinite::kSkip;
  request.digest = config.log.digest;
  request.save = true;
  request.serial = !place.overlap;
  return request;
}

int threads_of(const LimitsConfig& config, const MachineLimits& machine_limits) {
  return static_cast<int>(config.threads.value_or(machine_limits.cpu.threads));
}

TrainingShape training_shape(const RunConfig& config) {
  return {.dtype = config.train.dtype,
          .gradient = config.train.grad_dtype.value_or(config.train.dtype),
          .moments = config.optimizer.moments,
          .global_batch = config.train.global_batch,
          .length = config.data.seq_len,
          .groups = static_cast<int>(config.train.groups)};
}

}  // namespace sluice

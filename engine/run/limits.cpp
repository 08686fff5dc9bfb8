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

constexpr std::int64_t kLeastReserveOfGroup = std::int64_t{128} << 20;

// What stays free for the process itself and the rest of the machine.
Bytes less_reserve(Bytes total, std::int64_t least = kLeastReserve) {
  const std::int64_t reserve = std::max(least, total.value / 20);
  return {std::max<std::int64_t>(0, total.value - reserve) / 4096 * 4096};
}

Bytes less_reserve(const RamLimit& ram) {
  return less_reserve(ram.available, ram.of_group ? kLeastReserveOfGroup : kLeastReserve);
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

// One RAM for device and host: what `source` leaves of it.
void host_device_limits(const LimitsConfig& config, Bytes there, const std::string& source,
                        bool may_exceed, TierLimits& limits) {
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

// The reserve of a device is for what its driver takes while it runs; whole steps of memory,
// so that a page more or less makes no other plan.
void own_memory_limits(const LimitsConfig& config, const RamLimit& ram, const ChosenMachine& chosen,
                       bool may_exceed, TierLimits& limits) {
  constexpr std::int64_t kStep = std::int64_t{64} << 20;
  const Bytes there = chosen.device_free.value_or(chosen.device.memory);
  const Bytes device{std::max<std::int64_t>(0, there.value - kLeastReserve) / kStep * kStep};
  const Bytes host = less_reserve(ram);
  const std::string device_source = "free device memory less a reserve";
  const std::string host_source = ram.source + " less a reserve";
  limits.capacity = {config.device.value_or(device), config.host.value_or(host)};
  limits.source = {config.device ? "limits.device" : device_source,
                   config.host ? "limits.host" : host_source};
  if (may_exceed) return;
  if (config.device && *config.device > device) {
    refuse_above("limits.device", *config.device, device, device_source);
  }
  if (config.host && *config.host > host) {
    refuse_above("limits.host", *config.host, host, host_source);
  }
}

// For a machine file: the device of its kind, or the one that is asked for by name.
void choose_device_of(const Machine& machine, const std::string& name, const Devices& devices,
                      ChosenMachine& chosen) {
  if (name == "auto") {
    try {
      chosen.device = devices.choose(machine.device);
    } catch (const Error& error) {
      chosen.device.kind = machine.device;
      chosen.missing = error.what();
    }
    return;
  }
  chosen.device = devices.choose(name);
  if (chosen.device.kind == machine.device) return;
  throw Error(ErrorKind::kConfig,
              fmt::format("limits.accelerator is \"{}\", but machine \"{}\" has a device of kind "
                          "\"{}\": leave one of them out",
                          name, machine.name, machine.device));
}

}  // namespace

ChosenMachine choose_machine(const std::optional<std::filesystem::path>& file,
                             const std::string& device, const MachineLimits& limits, bool for_real,
                             const Devices& devices) {
  ChosenMachine chosen;
  if (file) {
    chosen.machine = load_machine(*file);
    choose_device_of(chosen.machine, device, devices, chosen);
    chosen.here = for_real ? chosen.missing.empty()
                           : !chosen.own_memory() && chosen.machine.name == host_name();
    return chosen;
  }
  chosen.device = devices.choose(device);
  if (!chosen.device.note.empty()) {
    log_warn(fmt::format("computing on the host device: {}", chosen.device.note));
  }
  const std::filesystem::path cached = cached_machine_path(limits, chosen.device);
  std::error_code unreadable;
  if (std::filesystem::exists(cached, unreadable)) {
    chosen.machine = load_machine(cached);
    return chosen;
  }
  chosen.measured = false;
  chosen.machine = default_machine(limits, chosen.device);
  return chosen;
}

TierLimits resolve_limits(const LimitsConfig& config, const MachineLimits& machine_limits,
                          const ChosenMachine& chosen, const std::filesystem::path& storage_folder,
                          bool may_exceed) {
  TierLimits limits;
  const Machine& machine = chosen.machine;
  if (chosen.here && chosen.own_memory()) {
    own_memory_limits(config, machine_limits.ram, chosen, may_exceed, limits);
  } else if (chosen.here) {
    host_device_limits(config, less_reserve(machine_limits.ram),
                       machine_limits.ram.source + " less a reserve", may_exceed, limits);
  } else if (!chosen.own_memory() && !machine.paced) {  // links from its RAM to its RAM
    host_device_limits(config,
                       less_reserve(std::max(machine.device_capacity, machine.host_capacity)),
                       "machine file", may_exceed, limits);
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
  const std::filesystem::path folder = existing_folder(storage_folder);
  const FolderLimits disk = folder_limits(folder);
  const bool usable = disk.file_system.kind != FileSystemKind::kMemory;
  const Bytes free = usable ? less_reserve(disk.free) : Bytes{};
  storage = config.storage.value_or(free);
  limits.source[2] = config.storage ? "limits.storage"
                     : usable       ? fmt::format("free disk of {}, {} less a reserve of {}",
                                                  folder.string(), format_bytes(disk.free),
                                                  format_bytes(disk.free - less_reserve(disk.free)))
                              : fmt::format("{} is a {}", folder.string(), disk.file_system.name);
  if (!may_exceed && config.storage && *config.storage > free && usable) {
    refuse_above("limits.storage", *config.storage, free,
                 fmt::format("the free disk of {} less a reserve", folder.string()));
  }
  return limits;
}

bool asks_for_storage(const PlaceConfig& place) {
  const auto stores = [](const PlaceRules& rules) {
    return std::any_of(rules.begin(), rules.end(),
                       [](const PlaceRule& rule) { return rule.home == HomeChoice::kStorage; });
  };
  return stores(place.weights) || stores(place.gradients) || stores(place.optimizer) ||
         stores(place.activations);
}

std::filesystem::path existing_folder(std::filesystem::path folder) {
  folder = std::filesystem::absolute(folder);
  while (!std::filesystem::exists(folder) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  return folder;
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

TrainingShape training_shape(const RunConfig& config, const std::string& kind) {
  return {.dtype = config.train.dtype,
          .gradient = config.train.grad_dtype.value_or(config.train.dtype),
          .moments = config.optimizer.moments,
          .global_batch = config.train.global_batch,
          .length = config.data.seq_len,
          .groups = static_cast<int>(config.train.groups),
          .device = kind,
          .checks_storage = config.limits.storage_checksum};
}

}  // namespace sluice

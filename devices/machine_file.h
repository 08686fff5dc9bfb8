// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Capacities and rates of one machine: what a forecast is made of. Written by
// `sluice probe`, or by hand for a machine one does not have.
//
// Format  TOML, format = "sluice-machine", version = 1. Sizes are numbers or
//         "64MiB", rates numbers or "25GB/s". Unknown keys are refused, missing
//         ones too unless they say so below.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"
#include "devices/base/dtype.h"
#include "devices/base/units.h"
#include "devices/topology.h"

namespace sluice {

// The measured speed of one product c[m,n] = a[m,k] * b[k,n].
struct GemmPoint {
  DType dtype = DType::kFloat32;
  std::int64_t m = 1, n = 1, k = 1;
  double flops_per_second = 0;
};

// Attention, causal and forward, over sequences of `length` with heads of `head_width`.
struct AttentionPoint {
  DType dtype = DType::kFloat32;
  std::int64_t length = 1, head_width = 1;
  double flops_per_second = 0;
};

// Copies of one size between pinned host memory and the device.
struct CopyPoint {
  Bytes size;
  BytesPerSecond host_to_device, device_to_host;
  double duplex_factor = 1;  // optional, as that of [links]
};

struct Machine {
  std::string name;
  std::string provenance;       // "measured", "published", "defaults"
  std::string device = "host";  // kind of the accelerator

  // [capacity]
  Bytes device_capacity, host_capacity, storage_capacity;
  int cores = 1;  // physical, that compute on the host

  // [links]
  BytesPerSecond host_to_device, device_to_host;
  double duplex_factor = 1;  // optional: both at once over the sum of each alone
  Seconds link_latency{};
  // Optional: the host device plays these links. Where a file does not say: it does, unless
  // they were measured, and are the machine's own.
  bool paced = false;
  std::vector<CopyPoint> copies;  // [[links.copy]], optional: rates by size, latency included
  // optional, for people: the same from and to memory that is not pinned, of the largest copies
  // (0: not known) and by size ([[links.pageable_copy]])
  BytesPerSecond pageable_to_device, pageable_to_host;
  std::vector<CopyPoint> pageable_copies;

  // [memory]
  BytesPerSecond memory;  // DRAM traffic, reads and writes added

  // [storage]: blocks of storage_block, storage_depth of them in flight
  BytesPerSecond storage_read, storage_write;
  Bytes storage_block;
  int storage_depth = 16;
  Seconds storage_latency{};
  // optional: reads and writes at once over the sum of each alone; 0.5 where they take turns
  double storage_mixed_factor = 1;

  // [compute], of the device
  double attention_fp32 = 0, attention_bf16 = 0;  // FLOP/s
  BytesPerSecond elementwise;                     // what is bound by memory
  Seconds launch{};                               // the least time of one kernel
  std::vector<GemmPoint> gemm;                    // [[compute.gemm]], at least one
  std::vector<AttentionPoint> attention;          // [[compute.attention]], optional

  // [host_adam]: traffic of one-pass AdamW on all cores (28 B a parameter with
  // fp32 state, bf16 gradient and weight)
  BytesPerSecond host_adam;
  // optional, for people (forecasts work it out of [memory]): the share of that rate that
  // is left while both links are busy
  double adam_beside_copies = 1;
};

// Errors: kConfig with file, line and what was expected; kIo where `path` cannot be read.
Machine load_machine(const std::filesystem::path& path);

// The same for a text that is called `name` in messages.
Machine parse_machine(const std::string& text, const std::string& name);

// Whole or not at all (temporary name, renamed); makes the folder. Errors: kIo.
void save_machine(const Machine& machine, const std::filesystem::path& path);

// For machines nobody measured: figures that nearly every machine beats, of the host device
// or of `device`, one of its kind.
Machine default_machine(const MachineLimits& limits, const DeviceChoice& device = {});

// How `probe` names this machine; the description of a device of its own comes after it.
std::string host_name();

// The machine with at most `cores` of its cores at work: what those compute takes longer in
// proportion.
Machine with_cores(Machine machine, int cores);

// Where `probe` keeps the file of this machine:
// $XDG_CACHE_HOME/sluice/machine-<hash of CPU model, cores, RAM and device>.toml.
std::filesystem::path cached_machine_path(const MachineLimits& limits,
                                          const DeviceChoice& device = {});

// FLOP/s of a product, by the measured shape nearest to it in log space; of the
// other type where `dtype` was not measured.
double gemm_rate(const Machine& machine, DType dtype, double m, double n, double k);

// FLOP/s of attention over sequences of `length`, likewise by the nearest length measured.
double attention_rate(const Machine& machine, DType dtype, double length);

// Time of one copy alone on the link of `kind`, not kCompute.
Seconds copy_time(const Machine& machine, QueueKind kind, Bytes size);

// The pace for the host device's queue of `kind`; none unless machine.paced.
LinkPace link_pace(const Machine& machine, QueueKind kind);

}  // namespace sluice

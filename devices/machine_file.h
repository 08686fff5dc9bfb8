// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// What one machine has and how fast it is: the planner's whole knowledge of
// hardware. Written by `sluice probe`, or by hand for a machine one does not have.
//
// Format   TOML, `format = "sluice-machine"`, `version = 1`; keys as the fields
//          below in sections [device], [host], [storage]; unknown keys are refused.

#include <filesystem>
#include <string>
#include <vector>

#include "devices/base/dtype.h"
#include "devices/base/units.h"

namespace sluice {

struct GemmRate {
  DType dtype = DType::kFloat32;
  double m = 0, n = 0, k = 0;
  double flops_per_second = 0;
};

// Time of one transfer: latency + bytes / rate.
struct LinkRate {
  BytesPerSecond rate;
  Seconds latency{};
};

struct Machine {
  std::string name;
  std::string provenance;  // "measured", "published" or "defaults"
  std::string device_kind = "host";
  // The device's memory is the host's RAM: both limits together stay below host_capacity.
  bool shared_memory = true;
  Bytes device_capacity, host_capacity, storage_capacity;
  int cores = 1;

  // [device]
  std::vector<GemmRate> gemm;
  double attention_flops_fp32 = 0, attention_flops_bf16 = 0;  // per second
  BytesPerSecond elementwise;  // traffic of kernels that are bound by memory
  Seconds launch{};            // floor of one kernel
  // Kernels run on the cores of the host (host device) and compete with Adam there.
  bool device_uses_cores = true;

  // [link]
  LinkRate host_to_device, device_to_host;
  double duplex = 1.0;  // share of the summed rates when both directions run
  bool paced = false;   // the host device slows its copies to these rates

  // [host]
  BytesPerSecond dram;  // read-modify-write traffic of all cores
  BytesPerSecond adam;  // traffic that Adam reaches on all cores

  // [storage]
  LinkRate storage_read, storage_write;
  BytesPerSecond storage_mixed;  // reads and writes together
  double endurance_bytes = 0;    // what the drive may be written in its life; 0: unknown
};

// Error{kConfig} with path and line for a bad file, kIo where it cannot be read.
Machine load_machine(const std::filesystem::path& path);
void save_machine(const Machine& machine, const std::filesystem::path& path);

// Rate of the measured point nearest in log space, by dtype. 0 where there is none.
double gemm_rate(const Machine& machine, DType dtype, double m, double n, double k);

}  // namespace sluice

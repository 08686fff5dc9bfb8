// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_file.h"

#include "devices/base/toml_guard.h"

#include <toml++/toml.h>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/read_text.h"
#include "devices/machine_points.h"
#include "devices/machine_section.h"
#include "devices/machine_text.h"

namespace sluice {
namespace {

constexpr std::int64_t kMostUnits = 1 << 20;  // cores, or transfers in flight

void read_capacity(MachineSection section, Machine& machine) {
  section.only({"device", "host", "storage", "cores"});
  machine.device_capacity = section.bytes("device");
  machine.host_capacity = section.bytes("host");
  machine.storage_capacity = section.bytes("storage");
  machine.cores = static_cast<int>(section.positive("cores", kMostUnits));
}

void read_links(MachineSection section, Machine& machine) {
  section.only({"host_to_device", "device_to_host", "latency_seconds", "duplex_factor", "paced",
                "pageable_to_device", "pageable_to_host", "copy", "pageable_copy"});
  machine.host_to_device = section.rate("host_to_device");
  machine.device_to_host = section.rate("device_to_host");
  machine.link_latency = section.seconds("latency_seconds");
  machine.duplex_factor = section.factor("duplex_factor", 0.5);
  read_link_points(section, machine);
  machine.paced = section.has("paced")
                      ? section.boolean("paced")
                      : machine.device == "host" && machine.provenance != "measured";
}

void read_storage(MachineSection section, Machine& machine) {
  section.only({"read", "write", "block", "depth", "latency_seconds", "mixed_factor"});
  machine.storage_read = section.rate("read");
  machine.storage_write = section.rate("write");
  machine.storage_block = section.bytes("block");
  machine.storage_depth = static_cast<int>(section.positive("depth", kMostUnits));
  machine.storage_latency = section.seconds("latency_seconds");
  machine.storage_mixed_factor = section.factor("mixed_factor", 0.05);
}

void read_compute(MachineSection section, Machine& machine) {
  section.only({"attention_fp32_flops_per_second", "attention_bf16_flops_per_second", "elementwise",
                "launch_seconds", "gemm", "attention"});
  machine.attention_fp32 = section.rate("attention_fp32_flops_per_second").value;
  machine.attention_bf16 = section.rate("attention_bf16_flops_per_second").value;
  machine.elementwise = section.rate("elementwise");
  machine.launch = section.seconds("launch_seconds");
  read_compute_points(section, machine);
}

void read_kind(MachineSection& top, const std::string& file) {
  if (!top.has("format")) {
    throw Error(
        ErrorKind::kConfig,
        fmt::format("{}: is no machine file, which has format = \"sluice-machine\": `sluice "
                    "probe --out FILE` writes one",
                    file));
  }
  if (top.text("format") != "sluice-machine") {
    top.wrong("format", "\"sluice-machine\"");
  }
  if (top.positive("version") != 1) {
    top.wrong("version", "1: run `sluice probe` again");
  }
}

// `text` as a TOML string, quoted and escaped.
std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::value<std::string>(text);
  return stream.str();
}

}  // namespace

std::string to_toml(const Machine& machine) {
  std::string text = fmt::format(
      "format = \"sluice-machine\"\nversion = 1\nname = {}\nprovenance = {}\ndevice = {}\n\n"
      "[capacity]\ndevice = {}\nhost = {}\nstorage = {}\ncores = {}\n\n"
      "[links]\nhost_to_device = {}\ndevice_to_host = {}\nduplex_factor = {}\n"
      "latency_seconds = {}\npaced = {}\n{}\n[memory]\nbandwidth = {}\n\n",
      quoted(machine.name), quoted(machine.provenance), quoted(machine.device),
      machine.device_capacity.value, machine.host_capacity.value, machine.storage_capacity.value,
      machine.cores, machine.host_to_device.value, machine.device_to_host.value,
      machine.duplex_factor, machine.link_latency.count(), machine.paced, link_points_text(machine),
      machine.memory.value);
  text += fmt::format(
      "[storage]\nread = {}\nwrite = {}\nblock = {}\ndepth = {}\nlatency_seconds = {}\n"
      "mixed_factor = {}\n\n"
      "[host_adam]\nbandwidth = {}\nbeside_copies = {}\n\n"
      "[compute]\nattention_fp32_flops_per_second = {}\nattention_bf16_flops_per_second = {}\n"
      "elementwise = {}\nlaunch_seconds = {}\n",
      machine.storage_read.value, machine.storage_write.value, machine.storage_block.value,
      machine.storage_depth, machine.storage_latency.count(), machine.storage_mixed_factor,
      machine.host_adam.value, machine.adam_beside_copies, machine.attention_fp32,
      machine.attention_bf16, machine.elementwise.value, machine.launch.count());
  text += compute_points_text(machine);
  return text;
}

Machine load_machine(const std::filesystem::path& path) {
  const std::string file = path.string();
  std::error_code status;
  std::ifstream stream(path, std::ios::binary);
  if (!stream || std::filesystem::is_directory(path, status)) {
    throw Error(ErrorKind::kIo,
                fmt::format("{}: {}; `sluice probe --out FILE` writes a machine file, "
                            "configs/machines/ holds others",
                            file, stream ? "is a folder" : with_errno("cannot be read", errno)));
  }
  return parse_machine(read_text(stream, file, ErrorKind::kConfig), file);
}

Machine parse_machine(const std::string& text, const std::string& file) {
  toml::table table;
  try {
    table = parse_guarded_toml(text, file);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kConfig, fmt::format("{} line {}: {}", file, error.source().begin.line,
                                                error.description()));
  }
  MachineSection top(file, "", &table);
  read_kind(top, file);
  top.only({"format", "version", "name", "provenance", "device", "capacity", "links", "memory",
            "storage", "compute", "host_adam"});
  Machine machine;
  machine.name = top.text("name");
  machine.provenance = top.text("provenance");
  machine.device = top.text("device");
  read_capacity(top.section("capacity"), machine);
  read_links(top.section("links"), machine);
  MachineSection memory = top.section("memory");
  memory.only({"bandwidth"});
  machine.memory = memory.rate("bandwidth");
  read_storage(top.section("storage"), machine);
  read_compute(top.section("compute"), machine);
  MachineSection adam = top.section("host_adam");
  adam.only({"bandwidth", "beside_copies"});
  machine.host_adam = adam.rate("bandwidth");
  machine.adam_beside_copies = adam.factor("beside_copies", 0);
  return machine;
}

void save_machine(const Machine& machine, const std::filesystem::path& path) {
  std::error_code status;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), status);
  const std::filesystem::path partial = path.string() + fmt::format(".{}.partial", getpid());
  std::ofstream stream(partial, std::ios::binary | std::ios::trunc);
  stream << to_toml(machine);
  stream.close();
  if (stream) {
    std::filesystem::rename(partial, path, status);
    if (!status) return;
  } else {
    status = std::error_code(errno, std::generic_category());
  }
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  throw Error(ErrorKind::kIo,
              fmt::format("cannot write machine file {}: {}", path.string(), status.message()));
}

}  // namespace sluice

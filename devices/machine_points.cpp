// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_points.h"

#include <fmt/format.h>

namespace sluice {
namespace {

std::vector<CopyPoint> read_copies(MachineSection& links, const char* name) {
  std::vector<CopyPoint> points;
  for (MachineSection& copy : links.sections(name)) {
    copy.only({"size", "host_to_device", "device_to_host", "duplex_factor"});
    points.push_back({.size = {copy.positive("size")},
                      .host_to_device = copy.rate("host_to_device"),
                      .device_to_host = copy.rate("device_to_host"),
                      .duplex_factor = copy.factor("duplex_factor", 0.5)});
  }
  return points;
}

std::string copies_text(const std::vector<CopyPoint>& points, const char* name) {
  std::string text;
  for (const CopyPoint& point : points) {
    text += fmt::format(
        "\n[[links.{}]]\nsize = {}\nhost_to_device = {}\ndevice_to_host = {}\n"
        "duplex_factor = {}\n",
        name, point.size.value, point.host_to_device.value, point.device_to_host.value,
        point.duplex_factor);
  }
  return text;
}

}  // namespace

void read_link_points(MachineSection& links, Machine& machine) {
  if (links.has("pageable_to_device")) {
    machine.pageable_to_device = links.rate("pageable_to_device");
  }
  if (links.has("pageable_to_host")) {
    machine.pageable_to_host = links.rate("pageable_to_host");
  }
  machine.copies = read_copies(links, "copy");
  machine.pageable_copies = read_copies(links, "pageable_copy");
}

void read_compute_points(MachineSection& compute, Machine& machine) {
  for (MachineSection& point : compute.sections("gemm", 1)) {
    point.only({"dtype", "m", "n", "k", "flops_per_second"});
    machine.gemm.push_back({.dtype = point.dtype("dtype"),
                            .m = point.positive("m"),
                            .n = point.positive("n"),
                            .k = point.positive("k"),
                            .flops_per_second = point.rate("flops_per_second").value});
  }
  for (MachineSection& point : compute.sections("attention")) {
    point.only({"dtype", "length", "head_width", "flops_per_second"});
    machine.attention.push_back({.dtype = point.dtype("dtype"),
                                 .length = point.positive("length"),
                                 .head_width = point.positive("head_width"),
                                 .flops_per_second = point.rate("flops_per_second").value});
  }
}

std::string link_points_text(const Machine& machine) {
  std::string text;
  if (machine.pageable_to_device.value > 0) {
    text += fmt::format("pageable_to_device = {}\n", machine.pageable_to_device.value);
  }
  if (machine.pageable_to_host.value > 0) {
    text += fmt::format("pageable_to_host = {}\n", machine.pageable_to_host.value);
  }
  return text + copies_text(machine.copies, "copy") +
         copies_text(machine.pageable_copies, "pageable_copy");
}

std::string compute_points_text(const Machine& machine) {
  std::string text;
  for (const GemmPoint& point : machine.gemm) {
    text += fmt::format(
        "\n[[compute.gemm]]\ndtype = \"{}\"\nm = {}\nn = {}\nk = {}\nflops_per_second = {}\n",
        name_of(point.dtype), point.m, point.n, point.k, point.flops_per_second);
  }
  for (const AttentionPoint& point : machine.attention) {
    text += fmt::format(
        "\n[[compute.attention]]\ndtype = \"{}\"\nlength = {}\nhead_width = {}\n"
        "flops_per_second = {}\n",
        name_of(point.dtype), point.length, point.head_width, point.flops_per_second);
  }
  return text;
}

}  // namespace sluice

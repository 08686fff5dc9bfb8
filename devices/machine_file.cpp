// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>

#include <toml++/toml.h>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/read_text.h"
#include "devices/machine_text.h"

namespace sluice {
namespace {

// One table of the file. Each key is asked for once; finish() refuses the rest.
class Section {
 public:
  Section(const std::string& file, std::string name, const toml::table* table)
      : file_(file), name_(std::move(name)), table_(table) {}

  const toml::node* optional(std::string_view key) {
    asked_.emplace_back(key);
    return table_->get(key);
  }
  const toml::node& required(std::string_view key) {
    const toml::node* node = optional(key);
    if (node == nullptr) {
      throw Error(ErrorKind::kConfig, fmt::format("{}: {}{} is missing", file_, name_, key));
    }
    return *node;
  }

  std::string text(std::string_view key) {
    const toml::node& node = required(key);
    if (!node.is_string()) wrong(node, key, "a string");
    return *node.value<std::string>();
  }
  double number(std::string_view key) {
    const toml::node& node = required(key);
    const double value = node.is_number() ? node.value<double>().value_or(-1) : -1;
    if (!(value >= 0 && std::isfinite(value))) wrong(node, key, "a number, not negative");
    return value;
  }
  std::int64_t positive(std::string_view key) {
    const toml::node& node = required(key);
    const std::int64_t value = node.is_integer() ? *node.value<std::int64_t>() : 0;
    if (value < 1) wrong(node, key, "a whole number from 1");
    return value;
  }
  Bytes bytes(std::string_view key) {
    const toml::node& node = required(key);
    if (node.is_integer() && *node.value<std::int64_t>() >= 0) return {*node.value<std::int64_t>()};
    if (!node.is_string()) wrong(node, key, "bytes, or a size such as \"64MiB\"");
    return parsed(node, key, parse_bytes);
  }
  BytesPerSecond rate(std::string_view key) {
    const toml::node& node = required(key);
    BytesPerSecond value;
    if (node.is_number()) {
      value.value = node.value<double>().value_or(0);
    } else if (node.is_string()) {
      value = parsed(node, key, parse_rate);
    }
    if (!(value.value > 0 && std::isfinite(value.value)))
      wrong(node, key, "bytes per second above 0, or such as \"25GB/s\"");
    return value;
  }
  Section section(std::string_view key) {
    const toml::node& node = required(key);
    if (!node.is_table()) wrong(node, key, "a table");
    return {file_, fmt::format("{}{}.", name_, key), node.as_table()};
  }

  [[noreturn]] void wrong(const toml::node& node, std::string_view key,
                          std::string_view expected) const {
    throw Error(ErrorKind::kConfig, fmt::format("{} line {}: {}{} must be {}", file_,
                                                node.source().begin.line, name_, key, expected));
  }

  void finish() const {
    for (const auto& [key, node] : *table_) {
      if (std::find(asked_.begin(), asked_.end(), key.str()) != asked_.end()) continue;
      throw Error(ErrorKind::kConfig,
                  fmt::format("{} line {}: unknown key {}{}: expected one of {}", file_,
                              node.source().begin.line, name_, printable(key.str()),
                              fmt::join(asked_, ", ")));
    }
  }

 private:
  template <typename Amount>
  Amount parsed(const toml::node& node, std::string_view key, Amount (*parse)(std::string_view)) {
    try {
      return parse(*node.value<std::string_view>());
    } catch (const Error& error) {
      throw Error(ErrorKind::kConfig,
                  fmt::format("{} line {}: {}{}: {}", file_, node.source().begin.line, name_, key,
                              error.what()));
    }
  }

  const std::string& file_;
  std::string name_;  // "links.", for messages
  const toml::table* table_;
  std::vector<std::string> asked_;
};

void read_capacity(Section section, Machine& machine) {
  machine.device_capacity = section.bytes("device");
  machine.host_capacity = section.bytes("host");
  machine.storage_capacity = section.bytes("storage");
  machine.cores = static_cast<int>(section.positive("cores"));
  section.finish();
}

// How much of their summed rate two directions keep when both are busy; 1 if absent.
double read_factor(Section& section, const std::string& key, double least) {
  const toml::node* factor = section.optional(key);
  if (factor == nullptr) return 1;
  const double value = factor->value<double>().value_or(0);
  if (!(value >= least && value <= 1)) {
    section.wrong(*factor, key, fmt::format("a number from {} to 1 (both at full rate)", least));
  }
  return value;
}

void read_links(Section section, Machine& machine) {
  machine.host_to_device = section.rate("host_to_device");
  machine.device_to_host = section.rate("device_to_host");
  machine.link_latency = Seconds{section.number("latency_seconds")};
  machine.duplex_factor = read_factor(section, "duplex_factor", 0.5);
  if (const toml::node* paced = section.optional("paced")) {
    if (!paced->is_boolean()) section.wrong(*paced, "paced", "true or false");
    machine.paced = *paced->value<bool>();
  }
  section.finish();
}

void read_storage(Section section, Machine& machine) {
  machine.storage_read = section.rate("read");
  machine.storage_write = section.rate("write");
  machine.storage_block = section.bytes("block");
  machine.storage_depth = static_cast<int>(section.positive("depth"));
  machine.storage_latency = Seconds{section.number("latency_seconds")};
  machine.storage_mixed_factor = read_factor(section, "mixed_factor", 0.05);
  section.finish();
}

GemmPoint read_gemm(Section section) {
  GemmPoint point;
  const std::string dtype = section.text("dtype");
  if (dtype == name_of(DType::kBFloat16)) {
    point.dtype = DType::kBFloat16;
  } else if (dtype != name_of(DType::kFloat32)) {
    section.wrong(section.required("dtype"), "dtype", "\"fp32\" or \"bf16\"");
  }
  point.m = section.positive("m");
  point.n = section.positive("n");
  point.k = section.positive("k");
  point.flops_per_second = section.rate("flops_per_second").value;
  section.finish();
  return point;
}

void read_compute(const std::string& file, Section section, Machine& machine) {
  machine.attention_fp32 = section.rate("attention_fp32_flops_per_second").value;
  machine.attention_bf16 = section.rate("attention_bf16_flops_per_second").value;
  machine.elementwise = section.rate("elementwise");
  machine.launch = Seconds{section.number("launch_seconds")};
  const toml::node& points = section.required("gemm");
  const toml::array* array = points.as_array();
  if (array == nullptr || array->empty() || !array->is_homogeneous<toml::table>()) {
    section.wrong(points, "gemm", "at least one [[compute.gemm]]");
  }
  for (const toml::node& point : *array) {
    machine.gemm.push_back(read_gemm({file, "compute.gemm.", point.as_table()}));
  }
  section.finish();
}

void read_kind(Section& top) {
  if (top.text("format") != "sluice-machine") {
    top.wrong(top.required("format"), "format", "\"sluice-machine\"");
  }
  if (top.positive("version") != 1) {
    top.wrong(top.required("version"), "version", "1: run `sluice probe` again");
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
      "latency_seconds = {}\npaced = {}\n\n[memory]\nbandwidth = {}\n\n",
      quoted(machine.name), quoted(machine.provenance), quoted(machine.device),
      machine.device_capacity.value, machine.host_capacity.value, machine.storage_capacity.value,
      machine.cores, machine.host_to_device.value, machine.device_to_host.value,
      machine.duplex_factor, machine.link_latency.count(), machine.paced, machine.memory.value);
  text += fmt::format(
      "[storage]\nread = {}\nwrite = {}\nblock = {}\ndepth = {}\nlatency_seconds = {}\n"
      "mixed_factor = {}\n\n"
      "[host_adam]\nbandwidth = {}\n\n"
      "[compute]\nattention_fp32_flops_per_second = {}\nattention_bf16_flops_per_second = {}\n"
      "elementwise = {}\nlaunch_seconds = {}\n",
      machine.storage_read.value, machine.storage_write.value, machine.storage_block.value,
      machine.storage_depth, machine.storage_latency.count(), machine.storage_mixed_factor,
      machine.host_adam.value, machine.attention_fp32, machine.attention_bf16,
      machine.elementwise.value, machine.launch.count());
  for (const GemmPoint& point : machine.gemm) {
    text += fmt::format(
        "\n[[compute.gemm]]\ndtype = \"{}\"\nm = {}\nn = {}\nk = {}\n"
        "flops_per_second = {}\n",
        name_of(point.dtype), point.m, point.n, point.k, point.flops_per_second);
  }
  return text;
}

Machine load_machine(const std::filesystem::path& path) {
  const std::string file = path.string();
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    throw Error(ErrorKind::kIo,
                with_errno(fmt::format("cannot read machine file {}", file), errno));
  }
  return parse_machine(read_text(stream, file, ErrorKind::kConfig), file);
}

Machine parse_machine(const std::string& text, const std::string& file) {
  toml::table table;
  try {
    table = toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kConfig, fmt::format("{} line {}: {}", file, error.source().begin.line,
                                                error.description()));
  }
  Section top(file, "", &table);
  read_kind(top);
  Machine machine;
  machine.name = top.text("name");
  machine.provenance = top.text("provenance");
  machine.device = top.text("device");
  read_capacity(top.section("capacity"), machine);
  read_links(top.section("links"), machine);
  Section memory = top.section("memory");
  machine.memory = memory.rate("bandwidth");
  memory.finish();
  read_storage(top.section("storage"), machine);
  read_compute(file, top.section("compute"), machine);
  Section adam = top.section("host_adam");
  machine.host_adam = adam.rate("bandwidth");
  adam.finish();
  top.finish();
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

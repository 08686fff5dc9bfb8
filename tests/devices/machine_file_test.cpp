// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/machine_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "devices/base/error.h"
#include "tests/devices/temporary_folder.h"

namespace sluice {
namespace {

using namespace literals;

MachineLimits two_cores() {
  MachineLimits limits;
  limits.cpu_model = "Fake \"9000\"";
  limits.simd = "AVX2";
  limits.cpu = {.cpus = {0, 1}, .threads = 2, .physical_cores = 2, .source = "CPUs online"};
  limits.ram = {.total = 16_GiB, .available = 8_GiB, .source = "MemTotal"};
  return limits;
}

// A good file's text, for tests that spoil it.
std::string good_text(const TemporaryFolder& folder) {
  save_machine(default_machine(two_cores()), folder.path() / "good.toml");
  std::ostringstream text;
  text << std::ifstream(folder.path() / "good.toml").rdbuf();
  return text.str();
}

std::string replaced(std::string text, const std::string& old, const std::string& by) {
  const std::size_t at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  return text.replace(at, old.size(), by);
}

void expect_refused(const TemporaryFolder& folder, const std::string& text,
                    const std::string& because) {
  folder.write("machine.toml", text);
  try {
    load_machine(folder.path() / "machine.toml");
    ADD_FAILURE() << "taken, in spite of: " << because;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find(because), std::string::npos) << error.what();
  }
}

TEST(MachineFile, ComesBackAsItWasSaved) {
  const TemporaryFolder folder;
  Machine machine = default_machine(two_cores());
  machine.paced = true;
  machine.duplex_factor = 0.75;
  machine.storage_mixed_factor = 0.25;
  machine.link_latency = Seconds{1.0 / 3};
  machine.gemm[1].flops_per_second = 1e11 / 3;
  const std::filesystem::path path = folder.path() / "new" / "machine.toml";
  save_machine(machine, path);
  const Machine back = load_machine(path);
  EXPECT_EQ(back.name, "Fake \"9000\"");
  EXPECT_EQ(back.provenance, "defaults");
  EXPECT_EQ(back.device_capacity, 8_GiB);
  EXPECT_TRUE(back.paced);
  EXPECT_EQ(back.duplex_factor, 0.75);
  EXPECT_EQ(back.storage_mixed_factor, 0.25);
  EXPECT_EQ(back.link_latency, machine.link_latency);
  EXPECT_EQ(back.host_to_device.value, machine.host_to_device.value);
  EXPECT_EQ(back.storage_block, 1_MiB);
  EXPECT_EQ(back.launch, machine.launch);
  ASSERT_EQ(back.gemm.size(), machine.gemm.size());
  EXPECT_EQ(back.gemm[1].flops_per_second, machine.gemm[1].flops_per_second);
  EXPECT_EQ(back.gemm[3].dtype, DType::kBFloat16);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path.parent_path()), {}), 1)
      << "a partial file was left";
}

TEST(MachineFile, TakesSizesAndRatesAsPeopleWriteThem) {
  const TemporaryFolder folder;
  std::string text = good_text(folder);
  text = replaced(text, "device = 8589934592", "device = \"141GB\"");
  text = replaced(text, "host_to_device = 5000000000", "host_to_device = \"55GB/s\"");
  folder.write("machine.toml", text);
  const Machine machine = load_machine(folder.path() / "machine.toml");
  EXPECT_EQ(machine.device_capacity, Bytes{141'000'000'000});
  EXPECT_DOUBLE_EQ(machine.host_to_device.value, 55e9);
}

TEST(MachineFile, RefusesUnknownKeysWithTheirLine) {
  const TemporaryFolder folder;
  const std::string text = good_text(folder);
  expect_refused(folder, replaced(text, "paced =", "pased ="), "unknown key links.pased");
  expect_refused(folder, "colour = \"red\"\n" + text,
                 "line 1: unknown key colour; expected one of");
  expect_refused(folder, replaced(text, "dtype =", "weight = 1\ndtype ="), "compute.gemm.weight");
}

TEST(MachineFile, AMisspeltKeyIsNamedBeforeTheOneThatIsMissing) {
  const TemporaryFolder folder;
  const std::string text = good_text(folder);
  const auto line = [&](const std::string& of) {
    return std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.find(of)),
                      '\n') +
           1;
  };
  expect_refused(folder, replaced(text, "[links]", "[linkz]"),
                 fmt::format("line {}: unknown key linkz; the nearest is links", line("[links]")));
  expect_refused(folder, replaced(text, "write = ", "wirte = "),
                 fmt::format("line {}: unknown key storage.wirte; the nearest is storage.write",
                             line("write = ")));
  expect_refused(folder, replaced(text, "[[compute.gemm]]", "[[compute.gem]]"),
                 "unknown key compute.gem; the nearest is compute.gemm");
}

TEST(MachineFile, RefusesMissingKeys) {
  const TemporaryFolder folder;
  const std::string text = good_text(folder);
  expect_refused(folder, replaced(text, "elementwise", "#"), "compute.elementwise is missing");
  expect_refused(folder, replaced(text, "[memory]\nbandwidth", "#"),
                 "memory is missing; `sluice probe");
}

TEST(MachineFile, RefusesValuesThatMakeNoSense) {
  const TemporaryFolder folder;
  const std::string text = good_text(folder);
  expect_refused(folder, replaced(text, "cores = 2", "cores = 0"), "capacity.cores must be");
  expect_refused(folder, replaced(text, "read = 800000000", "read = 0"), "storage.read must be");
  expect_refused(folder, replaced(text, "read = 800000000", "read = \"fast\""), "is no rate");
  for (const char* rate : {"read = nan", "read = 1e300", "read = 1e-300"}) {
    expect_refused(folder, replaced(text, "read = 800000000", rate), "storage.read must be");
  }
  expect_refused(folder, replaced(text, "cores = 2", "cores = 9223372036854775807"),
                 "capacity.cores must be");
  expect_refused(folder, replaced(text, "\"fp32\"", "\"fp8\""), "compute.gemm.dtype must be");
  expect_refused(folder, replaced(text, "duplex_factor = 0.5", "duplex_factor = 2"),
                 "duplex_factor must be");
  expect_refused(folder, replaced(text, "mixed_factor = 0.4", "mixed_factor = 0"),
                 "mixed_factor must be");
  expect_refused(folder, replaced(text, "version = 1", "version = 2"), "version must be");
  expect_refused(folder, "not toml", "line 1");
}

TEST(MachineFile, MissingFileIsAnIoError) {
  try {
    load_machine("/nonexistent/machine.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
  }
}

TEST(MachineFile, UnwritablePlaceIsAnIoErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  folder.write("plain", "x");
  EXPECT_THROW(save_machine(default_machine(two_cores()), folder.path() / "plain" / "m.toml"),
               Error);
}

TEST(MachineRates, NearestMeasuredShapeCounts) {
  Machine machine;
  machine.gemm = {{DType::kFloat32, 1024, 1024, 1024, 100e9},
                  {DType::kFloat32, 16, 64, 64, 10e9},
                  {DType::kBFloat16, 64, 64, 64, 1e9}};
  EXPECT_EQ(gemm_rate(machine, DType::kFloat32, 4096, 768, 3072), 100e9);
  EXPECT_EQ(gemm_rate(machine, DType::kFloat32, 1, 128, 32), 10e9);
  EXPECT_EQ(gemm_rate(machine, DType::kBFloat16, 4096, 4096, 4096), 1e9);
  EXPECT_EQ(gemm_rate(machine, DType::kFloat32, 0, 0, 0), 10e9);
}

TEST(MachineRates, TypeThatWasNotMeasuredBorrowsTheOther) {
  Machine machine;
  machine.gemm = {{DType::kFloat32, 64, 64, 64, 5e9}};
  EXPECT_EQ(gemm_rate(machine, DType::kBFloat16, 64, 64, 64), 5e9);
}

TEST(MachineRates, OnlyASimulatedLinkIsPaced) {
  Machine machine = default_machine(two_cores());
  EXPECT_EQ(link_pace(machine, QueueKind::kHostToDevice).rate.value, 0);
  machine.paced = true;
  machine.host_to_device = {1e9};
  EXPECT_EQ(link_pace(machine, QueueKind::kHostToDevice).rate.value, 1e9);
  EXPECT_EQ(link_pace(machine, QueueKind::kCompute).rate.value, 0);
}

TEST(MachineRates, CachedPathDependsOnTheMachineAlone) {
  MachineLimits limits = two_cores();
  const std::filesystem::path path = cached_machine_path(limits);
  limits.ram.available = 1_GiB;
  EXPECT_EQ(cached_machine_path(limits), path);
  limits.cpu_model = "Fake 9001";
  EXPECT_NE(cached_machine_path(limits), path);
  EXPECT_EQ(path.parent_path().filename(), "sluice");
}

Machine with_points() {
  Machine machine = default_machine(two_cores());
  machine.pageable_to_device = {3e9};
  machine.pageable_to_host = {2e9};
  machine.adam_beside_copies = 0.75;
  machine.link_latency = Seconds{1e-5};
  machine.copies = {
      {.size = 1_MiB, .host_to_device = {10e9}, .device_to_host = {9e9}},
      {.size = 64_MiB, .host_to_device = {20e9}, .device_to_host = {18e9}, .duplex_factor = 0.75}};
  machine.pageable_copies = {
      {.size = 4_MiB, .host_to_device = {3e9}, .device_to_host = {2e9}, .duplex_factor = 0.5}};
  machine.attention = {{DType::kBFloat16, 1024, 64, 1e12}, {DType::kBFloat16, 8192, 128, 4e12}};
  return machine;
}

TEST(MachineFile, PointsBySizeAndShapeComeBack) {
  const TemporaryFolder folder;
  const Machine machine = with_points();
  save_machine(machine, folder.path() / "machine.toml");
  const Machine back = load_machine(folder.path() / "machine.toml");
  EXPECT_EQ(back.pageable_to_device.value, 3e9);
  EXPECT_EQ(back.pageable_to_host.value, 2e9);
  EXPECT_EQ(back.adam_beside_copies, 0.75);
  ASSERT_EQ(back.copies.size(), 2U);
  EXPECT_EQ(back.copies[0].duplex_factor, 1);
  EXPECT_EQ(back.copies[1].size, 64_MiB);
  EXPECT_EQ(back.copies[1].device_to_host.value, 18e9);
  EXPECT_EQ(back.copies[1].duplex_factor, 0.75);
  ASSERT_EQ(back.pageable_copies.size(), 1U);
  EXPECT_EQ(back.pageable_copies[0].size, 4_MiB);
  EXPECT_EQ(back.pageable_copies[0].device_to_host.value, 2e9);
  EXPECT_EQ(back.pageable_copies[0].duplex_factor, 0.5);
  ASSERT_EQ(back.attention.size(), 2U);
  EXPECT_EQ(back.attention[1].length, 8192);
  EXPECT_EQ(back.attention[1].head_width, 128);
  EXPECT_EQ(back.attention[1].flops_per_second, 4e12);
}

TEST(MachineFile, ACopyTakesTheRateOfTheNearestSize) {
  const Machine machine = with_points();
  EXPECT_EQ(copy_time(machine, QueueKind::kHostToDevice, 32_MiB), 32_MiB / BytesPerSecond{20e9});
  EXPECT_EQ(copy_time(machine, QueueKind::kDeviceToHost, 2_MiB), 2_MiB / BytesPerSecond{9e9});
  EXPECT_EQ(copy_time(machine, QueueKind::kHostToDevice, 64_B), Seconds{1e-5});
  Machine plain = machine;
  plain.copies.clear();
  EXPECT_EQ(copy_time(plain, QueueKind::kHostToDevice, 1_MiB),
            Seconds{1e-5} + 1_MiB / plain.host_to_device);
}

TEST(MachineFile, AttentionTakesTheRateOfTheNearestLength) {
  const Machine machine = with_points();
  EXPECT_EQ(attention_rate(machine, DType::kBFloat16, 512), 1e12);
  EXPECT_EQ(attention_rate(machine, DType::kBFloat16, 4096), 4e12);
  EXPECT_EQ(attention_rate(machine, DType::kFloat32, 4096), machine.attention_fp32);
}

TEST(MachineFile, WithPointsThatAreNoneIsRefused) {
  const TemporaryFolder folder;
  const std::string text = good_text(folder);
  expect_refused(folder, text + "\n[[links.copy]]\nsize = 0\n", "links.copy.size");
  expect_refused(folder, text + "\n[[compute.attention]]\ndtype = \"fp8\"\n",
                 "compute.attention.dtype");
  expect_refused(folder, replaced(text, "beside_copies = 1", "beside_copies = 2"),
                 "host_adam.beside_copies");
}

TEST(DefaultMachine, OfAGpuIsOfItsKindAndSlowerThanAny) {
  const DeviceChoice gpu{.kind = "gpu", .description = "One GPU", .memory = 24_GiB};
  const Machine machine = default_machine(two_cores(), gpu);
  EXPECT_EQ(machine.device, "gpu");
  EXPECT_EQ(machine.device_capacity, 24_GiB);
  EXPECT_EQ(machine.host_capacity, 8_GiB);
  EXPECT_LE(machine.host_to_device.value, 8e9);
  EXPECT_NE(machine.name.find("One GPU"), std::string::npos);
}

TEST(CachedMachine, IsAnotherFileForAnotherDevice) {
  const MachineLimits limits = two_cores();
  EXPECT_EQ(cached_machine_path(limits, {}), cached_machine_path(limits));
  EXPECT_NE(cached_machine_path(limits, {.kind = "gpu", .description = "One GPU"}),
            cached_machine_path(limits));
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/limits.h"

#include "engine/model/model.h"
#include "tests/engine/run/run_scratch.h"

namespace sluice {
namespace {

constexpr Bytes kGiB = {std::int64_t{1} << 30};

MachineLimits machine_of(Bytes ram) {
  MachineLimits limits = effective_limits();
  limits.ram.available = ram;
  limits.ram.source = "MemTotal";
  return limits;
}

class Limits : public ::testing::Test {
 protected:
  TierLimits resolve(const LimitsConfig& config, bool may_exceed = false) const {
    const MachineLimits limits = machine_of(kGiB * 4);
    return resolve_limits(config, limits, {.machine = default_machine(limits)}, scratch_ / "run",
                          may_exceed);
  }

  RunScratch scratch_;
};

TEST_F(Limits, DeviceAndHostShareTheRamLessAReserve) {
  const TierLimits limits = resolve({});
  // The reserve: 512 MiB, or 5 % where that is more.
  EXPECT_EQ(limits.capacity[0].value, (kGiB * 7).value / 2);
  EXPECT_EQ(limits.capacity[1], limits.capacity[0]);
  ASSERT_TRUE(limits.shared_ram);
  EXPECT_EQ(*limits.shared_ram, limits.capacity[0]);
  EXPECT_NE(limits.source[0].find("MemTotal"), std::string::npos);
  EXPECT_NE(limits.source[2].find("free disk"), std::string::npos);
}

TEST_F(Limits, ALimitOfTheConfigIsNamedAsTheOneThatBinds) {
  const TierLimits limits = resolve({.device = kGiB, .host = std::nullopt, .storage = kGiB});
  EXPECT_EQ(limits.capacity[0], kGiB);
  EXPECT_EQ(limits.source[0], "limits.device");
  EXPECT_EQ(limits.source[2], "limits.storage");
}

TEST_F(Limits, AboveTheMachineTheyAreRefusedWhereTheRunIsForReal) {
  expect_error(ErrorKind::kNoFit, {"limits.device", "8.0 GiB", "MemTotal"},
               [&] { resolve({.device = kGiB * 8}); });
  expect_error(ErrorKind::kNoFit, {"limits.device + limits.host", "MemTotal"},
               [&] { resolve({.device = kGiB * 2, .host = kGiB * 2}); });
  expect_error(ErrorKind::kNoFit, {"limits.storage", "free disk of"},
               [&] { resolve({.storage = kGiB * 1000000}); });
}

TEST_F(Limits, AboveTheMachineTheyAreTakenWhereNothingIsRun) {
  const TierLimits limits = resolve({.device = kGiB * 80, .host = kGiB * 512}, true);
  EXPECT_EQ(limits.capacity[0], kGiB * 80);
  EXPECT_EQ(*limits.shared_ram, kGiB * 592);
}

TEST_F(Limits, ADeviceWithItsOwnMemorySharesNothing) {
  const MachineLimits ram = machine_of(kGiB * 4);
  ChosenMachine chosen{.machine = default_machine(ram, {.kind = "gpu", .memory = kGiB * 8}),
                       .device_free = kGiB * 6 + Bytes{4096}};
  const auto resolved = [&](const LimitsConfig& config) {
    return resolve_limits(config, ram, chosen, scratch_ / "run", /*may_exceed=*/false);
  };
  const TierLimits limits = resolved({});
  // The reserve is 512 MiB; what is over 64 MiB is left too.
  EXPECT_EQ(limits.capacity[0].value, (kGiB * 11).value / 2);
  EXPECT_EQ(limits.capacity[1].value, (kGiB * 7).value / 2);
  EXPECT_FALSE(limits.shared_ram);
  EXPECT_EQ(resolved({.device = kGiB}).capacity[0], kGiB);  // a big one made small
  expect_error(ErrorKind::kNoFit, {"limits.device", "free device memory"},
               [&] { resolved({.device = kGiB * 7}); });
  expect_error(ErrorKind::kNoFit, {"limits.host", "MemTotal"},
               [&] { resolved({.host = kGiB * 5}); });
}

TEST_F(Limits, ANamedDeviceMustBeTheMachineFiles) {
  const MachineLimits ram = machine_of(kGiB * 4);
  save_machine(default_machine(ram, {.kind = "gpu", .memory = kGiB}), scratch_ / "gpu.toml");
  const auto chosen = [&](const std::string& device, bool for_real) {
    return choose_machine(scratch_ / "gpu.toml", device, ram, for_real,
                          {.choose = [](const std::string& name) {
                            if (name == "gpu") throw Error(ErrorKind::kConfig, "none in here");
                            return DeviceChoice{};
                          }});
  };
  EXPECT_FALSE(chosen("auto", false).here);
  EXPECT_FALSE(chosen("auto", true).here);
  EXPECT_EQ(chosen("auto", true).missing, "none in here");
  expect_error(ErrorKind::kConfig, {"limits.accelerator", "host", "gpu"},
               [&] { chosen("host", true); });
}

// The same for plan and for train, of a machine file with this name.
class MachineFileLimits : public Limits {
 protected:
  TierLimits of(const std::string& name, bool paced, bool for_real) const {
    const MachineLimits here = machine_of(kGiB * 4);
    Machine machine = default_machine(here);
    machine.name = name;
    machine.paced = paced;
    machine.device_capacity = machine.host_capacity = machine.storage_capacity = kGiB * 900;
    save_machine(machine, scratch_ / "machine.toml");
    const ChosenMachine chosen =
        choose_machine(scratch_ / "machine.toml", "auto", here, for_real,
                       {.choose = [](const std::string&) { return DeviceChoice{}; }});
    return resolve_limits({}, here, chosen, scratch_ / "run", !for_real);
  }
};

TEST_F(MachineFileLimits, OfAnotherMachineAreThoseOfAPlan) {
  const TierLimits limits = of("elsewhere", /*paced=*/true, /*for_real=*/false);
  EXPECT_EQ(limits.capacity[0], kGiB * 855);  // less a reserve of 5 %
  EXPECT_EQ(limits.capacity[1], kGiB * 855);
  EXPECT_EQ(limits.capacity[2], kGiB * 900);
  EXPECT_FALSE(limits.shared_ram);
  for (const std::string& source : limits.source) EXPECT_EQ(source, "machine file");
}

TEST_F(MachineFileLimits, OfOneRamAreSharedByDeviceAndHost) {
  const TierLimits limits = of("elsewhere", /*paced=*/false, /*for_real=*/false);
  EXPECT_EQ(limits.capacity[0], kGiB * 855);
  EXPECT_EQ(limits.shared_ram, kGiB * 855);
  EXPECT_EQ(limits.source[0], "machine file");
}

TEST_F(MachineFileLimits, AreThisMachinesWhereItTrainsOrHasTheName) {
  for (const TierLimits& limits : {of("elsewhere", true, true), of(host_name(), true, false)}) {
    EXPECT_EQ(limits.capacity[0].value, (kGiB * 7).value / 2);
    EXPECT_NE(limits.source[0].find("MemTotal"), std::string::npos);
    EXPECT_NE(limits.source[2].find("free disk"), std::string::npos);
  }
}

TEST_F(Limits, SwapFilesAreRefusedWhereTheyCannotBe) {
  expect_error(ErrorKind::kIo, {"nowhere", "no such folder"},
               [&] { check_storage_folder(scratch_ / "nowhere"); });
  expect_error(ErrorKind::kIo, {"text.txt", "not a folder"},
               [&] { check_storage_folder(scratch_ / "text.txt"); });
}

TEST_F(Limits, RulesOfALayerFixThePlacementOfItsParameters) {
  const LoadedConfig loaded = scratch_.config(
      {{"place.optimizer", R"([{layers = "1", home = "host"}, {layers = "*", home = "storage"}])"},
       {"place.recompute", "full"},
       {"place.wave", "all"}});
  const Model model = make_model(loaded.config.model.shape, training_shape(loaded.config, "host"));
  const Workload workload = model.workload(2);
  const PlanRequest request = plan_request(loaded.config, workload);
  const int block = workload.layers[2].flats.front();
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    EXPECT_EQ(request.states[f], static_cast<int>(f) == block ? Tier::kHost : Tier::kStorage);
    EXPECT_FALSE(request.weights[f]);
  }
  EXPECT_EQ(request.recompute, true);
  EXPECT_EQ(request.wave, 0);
  EXPECT_FALSE(request.deferred);
}

TEST_F(Limits, OnlyAPlaceKeyThatIsSetFixesThePlacement) {
  const auto fixes = [&](const std::vector<ConfigFlag>& flags) {
    const LoadedConfig loaded = scratch_.config(flags);
    const Model model =
        make_model(loaded.config.model.shape, training_shape(loaded.config, "host"));
    return plan_request(loaded.config, model.workload(2)).fixes_placement();
  };
  EXPECT_FALSE(fixes({}));
  EXPECT_TRUE(fixes({{"place.gradients", "host"}}));
  EXPECT_TRUE(fixes({{"place.activations", R"([{layers = "head", home = "host"}])"}}));
  EXPECT_TRUE(fixes({{"place.recompute", "none"}}));
}

}  // namespace
}  // namespace sluice

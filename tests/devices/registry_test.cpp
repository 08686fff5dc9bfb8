// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/registry.h"

#include <gtest/gtest.h>

#include <string>

#include "devices/base/error.h"

namespace sluice {
namespace {

using namespace literals;

TEST(Registry, MakesTheHostDevice) {
  const auto device = make_accelerator("host", {.threads = 2, .capacity = 64_MiB});
  EXPECT_EQ(device->kind(), "host");
  EXPECT_EQ(device->capacity(), 64_MiB);
  EXPECT_NE(device->description().find("2 threads"), std::string::npos) << device->description();
}

TEST(Registry, RefusesAKindItDoesNotHave) { EXPECT_THROW(make_accelerator("abacus", {}), Error); }

TEST(HostAccelerator, WithoutACapacityHasTheRamOfTheMachine) {
  EXPECT_GT(make_accelerator("host", {})->capacity(), 64_MiB);
}

TEST(HostAccelerator, ReservesNoMoreThanItsCapacity) {
  const auto device = make_accelerator("host", {.capacity = 1_MiB});
  EXPECT_EQ(device->reserve_device(1_MiB)->size(), 1_MiB);
  try {
    device->reserve_device(1_MiB + 4_KiB);
    FAIL() << "more than there is was reserved";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
    EXPECT_NE(std::string(error.what()).find("--limits.device"), std::string::npos);
  }
}

TEST(ChooseDevice, FindsTheHostByNameAndSomethingByItself) {
  EXPECT_EQ(choose_device("host").kind, "host");
  EXPECT_NO_THROW(choose_device("auto"));
}

TEST(ChooseDevice, RefusesWhatIsNoDevice) {
  for (const char* name : {"tpu", "", "cuda:9999", "0000:ff:1f.7"}) {
    try {
      choose_device(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
    }
  }
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/mapped_memory.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using namespace literals;

// host_arena_test.cpp has the rest.
TEST(MappedMemory, IsThereWhateverNodeIsWishedFor) {
  for (const int node : {-1, 0, 63, 1000, 100'000}) {
    const MappedMemory memory({.size = 5_MiB, .numa_node = node});
    memory.base()[count(5_MiB) - 1] = std::byte{7};
    EXPECT_EQ(memory.size(), 5_MiB);
  }
}

}  // namespace
}  // namespace sluice

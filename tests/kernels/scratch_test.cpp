// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The scratch of a GPU against the workspaces that cuDNN itself asks for (tests/bench/results has
// how they were found).

#include <gtest/gtest.h>

#include "kernels/kernels.h"

namespace sluice {
namespace {

using namespace literals;

Bytes scratch_of(std::int64_t length, std::int64_t heads, std::int64_t kv_heads, std::int64_t width,
                 DType dtype = DType::kBFloat16) {
  return queue_scratch_for("cuda", {.length = length,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .head_width = width,
                                    .dtype = dtype});
}

TEST(CudaScratch, HoldsTheBackwardOfOneGroupOfHeads) {
  EXPECT_EQ(scratch_of(1024, 12, 12, 64), 32_MiB);
  EXPECT_GE(scratch_of(4096, 32, 8, 128), Bytes{1'141'374'976 / 8});   // 1,088.5 MiB, of scores
  EXPECT_GE(scratch_of(8192, 32, 8, 128), Bytes{269'484'032 / 8});     // 257.0 MiB, linear
  EXPECT_GE(scratch_of(32768, 32, 8, 128), Bytes{1'078'040'986 / 8});  // 1,028.1 MiB, linear
}

TEST(CudaScratch, IsNoLargerThanItMustBe) {
  EXPECT_LE(scratch_of(4096, 32, 8, 128), 146_MiB);
  EXPECT_LE(scratch_of(8192, 32, 8, 128), 34_MiB);
  EXPECT_LE(scratch_of(32768, 32, 8, 128), 132_MiB);
  EXPECT_EQ(scratch_of(32768, 32, 8, 128, DType::kFloat32), 32_MiB);  // cuDNN is not asked
  EXPECT_EQ(queue_scratch_for("cuda"), 32_MiB);
  EXPECT_EQ(queue_scratch_for("host"), 0_B);
}

}  // namespace
}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// Training takes its memory at the start: after step 0 nothing larger than 64 KiB is
// allocated by anybody in the process, libraries included.

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "engine/model/initial_values.h"
#include "engine/model/model.h"
#include "tests/engine/run/run_scratch.h"
#include "tests/support/matrix_workload.h"
#include "tests/support/run_program.h"

#if defined(SLUICE_SANITIZE_address) || defined(SLUICE_SANITIZE_thread)
#define SLUICE_COUNTS_ALLOCATIONS 0  // sanitizers have an allocator of their own
#else
#define SLUICE_COUNTS_ALLOCATIONS 1
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<int> large{0};

[[maybe_unused]] void count_large(std::size_t size) {
  if (size > (64U << 10) && counting.load(std::memory_order_relaxed)) ++large;
}
}  // namespace

#if SLUICE_COUNTS_ALLOCATIONS
// glibc's own names of what these replace.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  count_large(size);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  count_large(count * size);
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  count_large(size);
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  count_large(size);
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  *out = memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}
#endif

namespace sluice {
namespace {

TEST(Allocation, NothingLargeIsAllocatedAfterTheFirstStep) {
  if (!SLUICE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "sanitizers allocate in their own way";
  const ModelShape shape{.family = Family::kGpt2,
                         .layers = 2,
                         .width = 256,
                         .heads = 4,
                         .kv_heads = 4,
                         .head_width = 64,
                         .ffn_width = 1024,
                         .vocabulary = 256,
                         .context = 128};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Model model =
        make_model(shape, {.dtype = dtype, .gradient = dtype, .global_batch = 8, .length = 128});
    const Workload workload = model.workload(4);
    const CostModel costs(test_machine(), workload);
    Placement p = resident_placement(workload, true);
    p.weights.assign(p.weights.size(), Tier::kHost);
    p.gradients.assign(p.gradients.size(), Tier::kHost);
    p.states.assign(p.states.size(), Tier::kStorage);
    p.adam_on_device.assign(p.adam_on_device.size(), false);
    p.recompute.assign(p.recompute.size(), true);
    p.segment_elements = 1 << 17;
    RunOptions options{.steps = 4};
    options.clip = 1.0F;
    options.initial = [&](int flat, std::int64_t first, std::span<float> out) {
      initial_values(workload, shape, flat, first, out, 7);
    };
    // Counts from the second step's first operation to the last step's report.
    const Program program = build_training(workload, p, costs);
    options.before = [&](std::size_t operation, std::int64_t step) {
      const OperationKind kind = program.operations[operation].kind;
      if (step == 2 && kind == OperationKind::kBegin) counting = true;
      if (step == 4 && kind == OperationKind::kReport) counting = false;
    };
    large = 0;
    run_training(workload, program, model.layers, 256, options);
    EXPECT_EQ(large.load(), 0) << name_of(dtype);
  }
}

// What `train` adds around the steps: batches, validation, metrics, the trace. Each run
// allocates at its start and end; a longer one no more than a short one.
TEST(Allocation, ALongerRunOfTrainAllocatesNothingLargeMore) {
  if (!SLUICE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "sanitizers allocate in their own way";
  const RunScratch scratch;
  scratch.write("text.txt", std::string(200'000, 'x'));
  const auto large_of = [&](const std::string& steps, const std::string& io) {
    large = 0;
    counting = true;
    scratch.train({{"model.family", "llama"},
                   {"model.width", "128"},
                   {"model.heads", "4"},
                   {"model.kv_heads", "2"},
                   {"model.context", "128"},
                   {"data.seq_len", "128"},
                   {"train.steps", steps},
                   {"train.dtype", "bf16"},
                   {"eval.every", "3"},
                   {"eval.sequences", "8"},
                   {"log.every", "1"},
                   {"log.digest", "true"},
                   {"log.trace", "2:3"},
                   {"limits.io", io},
                   {"place.weights", "host"},
                   {"place.activations", "host"},
                   {"place.optimizer", "storage"}},
                  {.overwrite = true});
    counting = false;
    return large.load();
  };
  for (const std::string io : {"threads", "auto"}) {
    large_of("4", io);  // what the process allocates once
    const int few = large_of("6", io);
    EXPECT_GT(few, 0);
    EXPECT_EQ(large_of("18", io), few) << io;
  }
}

// The count counts: or the test above could not fail.
TEST(Allocation, ALargeAllocationIsCounted) {
  if (!SLUICE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "sanitizers allocate in their own way";
  large = 0;
  counting = true;
  std::vector<char> bytes(100 << 10);
  counting = false;
  EXPECT_GE(large.load(), bytes.empty() ? 0 : 1);
}

}  // namespace
}  // namespace sluice

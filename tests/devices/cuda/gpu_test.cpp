// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The CUDA device on a GPU, through the interface alone. Skips where there is none.

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "devices/base/error.h"
#include "devices/registry.h"

namespace sluice {
namespace {

using namespace literals;

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    try {
      gpu_ = make_accelerator("cuda", {.threads = 2});
    } catch (const Error& error) {
      GTEST_SKIP() << "needs gpu: " << error.what();
    }
  }

  std::unique_ptr<Accelerator> gpu_;
};

TEST_F(Gpu, HasMemoryAndADescription) {
  EXPECT_EQ(gpu_->kind(), "cuda");
  EXPECT_NE(gpu_->description().find("compute capability"), std::string::npos);
  EXPECT_GT(gpu_->capacity(), 1_GiB);
}

TEST_F(Gpu, RefusesMoreThanItHasInOneLine) {
  try {
    gpu_->reserve_device(gpu_->capacity() + 4_KiB);
    FAIL() << "more than there is was reserved";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNoFit);
  }
}

TEST_F(Gpu, MemoryIsAlignedAndOfTheSizeAskedFor) {
  for (const Bytes size : {4_KiB, 12_KiB, 5_MiB + 4_KiB}) {
    const auto arena = gpu_->reserve_device(size);
    EXPECT_EQ(arena->size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena->base()) % 4096, 0U);
  }
}

void fill(std::byte* bytes, std::size_t size, unsigned seed) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 2654435761U + seed) >> 7);
  }
}

// There and back, pinned and pageable, at ragged addresses and sizes.
TEST_F(Gpu, CopiesKeepEveryByte) {
  constexpr Bytes size = 24_MiB;
  const auto device = gpu_->reserve_device(size);
  const auto pinned = gpu_->reserve_host(size * 2);
  std::vector<std::byte> pageable(count(size) * 2);
  const auto down = gpu_->create_queue(QueueKind::kHostToDevice, 4);
  const auto up = gpu_->create_queue(QueueKind::kDeviceToHost, 4);
  for (std::byte* const host : {pinned->base(), pageable.data()}) {
    for (const std::size_t shift : {0U, 1U, 67U}) {
      const std::size_t moved = count(size) - 131 * shift;
      std::byte* const back = host + count(size);
      fill(host, count(size), static_cast<unsigned>(shift));
      down->copy(device->base() + shift, host + shift, {static_cast<std::int64_t>(moved - shift)});
      up->wait(*down, down->mark());
      up->copy(back + shift, device->base() + shift, {static_cast<std::int64_t>(moved - shift)});
      up->synchronize(up->mark());
      EXPECT_EQ(std::memcmp(back + shift, host + shift, moved - shift), 0) << shift;
    }
  }
}

// Each hop reads what the hop before wrote on the other queue.
TEST_F(Gpu, QueuesWaitForEachOtherOnTheDevice) {
  constexpr Bytes size = 8_MiB;
  constexpr int hops = 20;
  const auto device = gpu_->reserve_device(size);
  for (const bool is_pinned : {true, false}) {
    const auto pinned = gpu_->reserve_host(size * (hops + 1));
    std::vector<std::byte> pageable(is_pinned ? 0 : count(size) * (hops + 1));
    std::byte* const host = is_pinned ? pinned->base() : pageable.data();
    const auto down = gpu_->create_queue(QueueKind::kHostToDevice, 64);
    const auto up = gpu_->create_queue(QueueKind::kDeviceToHost, 64);
    fill(host, count(size), 1);
    for (std::size_t i = 0; i < hops; ++i) {
      down->copy(device->base(), host + i * count(size), size);
      up->wait(*down, down->mark());
      up->copy(host + (i + 1) * count(size), device->base(), size);
      down->wait(*up, up->mark());
    }
    const Queue::Ticket end = down->mark();
    down->synchronize(end);
    EXPECT_EQ(std::memcmp(host + hops * count(size), host, count(size)), 0) << is_pinned;
  }
}

TEST_F(Gpu, TimesOfQueuesLieInOrderOnTheHostsClock) {
  constexpr Bytes size = 64_MiB;
  const auto device = gpu_->reserve_device(size);
  const auto host = gpu_->reserve_host(size);
  const auto first = gpu_->create_queue(QueueKind::kHostToDevice, 8);
  const auto second = gpu_->create_queue(QueueKind::kCompute, 8);
  const Seconds before = steady_seconds();
  const Queue::Ticket start = first->mark();
  first->copy(device->base(), host->base(), size);
  const Queue::Ticket end = first->mark();
  second->wait(*first, end);
  const Queue::Ticket behind = second->mark();
  first->synchronize(end);
  second->synchronize(behind);
  const Seconds after = steady_seconds();
  constexpr Seconds error{1e-4};  // stated as 10 us; a busy machine is worse
  EXPECT_GE(first->time_of(start), before - error);
  EXPECT_LT(first->time_of(start), first->time_of(end));
  EXPECT_LE(first->time_of(end), second->time_of(behind) + Seconds{2e-6});
  EXPECT_LE(second->time_of(behind), after + error);
}

}  // namespace
}  // namespace sluice

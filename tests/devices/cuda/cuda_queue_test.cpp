// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "devices/cuda/cuda_arena.h"
#include "tests/devices/cuda/fake_cuda.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using namespace literals;

// The clock has stream s1 and events e1 and e2; the queue s2, e3, e4, e5; the other
// s3, e6, e7, e8.
class CudaQueueTest : public testing::Test {
 protected:
  CudaQueueTest() { fake_.calls.clear(); }

  static constexpr std::size_t kMarks = 3;

  FakeCuda fake_;
  CudaContext context_{FakeCuda::api(), 0};
  std::shared_ptr<CudaClock> clock_ = std::make_shared<CudaClock>(context_);
  CudaDeviceArena device_{context_, 16_MiB};
  std::optional<CudaQueue> queue_{std::in_place, context_, clock_, kMarks};
  CudaQueue other_{context_, clock_, kMarks};
};

TEST_F(CudaQueueTest, TicketsCountAndWaitsFollowInOrder) {
  EXPECT_EQ(queue_->mark(), 1U);
  EXPECT_EQ(queue_->mark(), 2U);
  other_.wait(*queue_, 2);
  EXPECT_EQ(other_.mark(), 1U);
  EXPECT_THAT(fake_.calls,
              ElementsAre("record e4 s2", "record e5 s2", "wait s3 e5", "record e7 s3"));
}

TEST_F(CudaQueueTest, TakesAnEventAgainOnlyWhenItsTicketWasReached) {
  for (int i = 0; i < 4; ++i) queue_->mark();
  EXPECT_THAT(fake_.calls, ElementsAre("record e4 s2", "record e5 s2", "record e3 s2",
                                       "synchronize e4", "record e4 s2"));
  // Ticket 1 is known to be reached: its event stands for ticket 4 now.
  fake_.calls.clear();
  other_.wait(*queue_, 1);
  queue_->synchronize(1);
  EXPECT_TRUE(fake_.calls.empty());
}

TEST_F(CudaQueueTest, SynchronizesEachTicketOnce) {
  queue_->mark();
  queue_->mark();
  queue_->synchronize(2);
  queue_->synchronize(2);
  queue_->synchronize(1);
  EXPECT_EQ(std::count(fake_.calls.begin(), fake_.calls.end(), "synchronize e5"), 1);
  EXPECT_EQ(std::count(fake_.calls.begin(), fake_.calls.end(), "synchronize e4"), 0);
}

TEST_F(CudaQueueTest, TimesLieOnTheHostsClock) {
  const Seconds before = steady_seconds();
  const Queue::Ticket first = queue_->mark();
  const Queue::Ticket second = queue_->mark();
  const Seconds after = steady_seconds();
  queue_->synchronize(second);
  constexpr Seconds error{50e-3};  // of a busy machine; the clock's own is 10 us
  EXPECT_GT(queue_->time_of(first), before - error);
  EXPECT_LT(queue_->time_of(second), after + error);
  EXPECT_LE(queue_->time_of(first), queue_->time_of(second));
}

TEST_F(CudaQueueTest, CopiesPinnedMemoryAtOnce) {
  CudaHostArena host(context_, {.size = 64_KiB});
  host.base()[5] = std::byte{7};
  fake_.calls.clear();
  queue_->copy(device_.base(), host.base(), 6_B);
  queue_->copy(device_.base(), host.base(), 0_B);
  EXPECT_THAT(fake_.calls, ElementsAre("copy 6 s2"));
  EXPECT_EQ(device_.base()[5], std::byte{7});
}

TEST_F(CudaQueueTest, CopiesPageableMemoryThroughTwoPinnedBuffers) {
  std::vector<unsigned char> there(3 * CudaStaging::kBufferBytes + 5);
  for (std::size_t i = 0; i < there.size(); ++i) there[i] = static_cast<unsigned char>(i * 7 >> 3);
  std::vector<unsigned char> back(there.size());
  const Bytes size{static_cast<std::int64_t>(there.size())};
  queue_->copy(device_.base(), there.data(), size);
  queue_->copy(back.data(), device_.base(), size);
  EXPECT_EQ(back, there);
  EXPECT_EQ(fake_.alive("pinned memory"), 2);
  queue_.reset();
  EXPECT_EQ(fake_.alive("pinned memory"), 0);
}

// Nothing but events between the two streams: no wait of the thread that enqueues.
TEST_F(CudaQueueTest, StagedCopiesKeepTheOrderOfTheQueue) {
  std::vector<std::byte> pageable(8);
  queue_->copy(device_.base(), pageable.data(), 8_B);
  // s4 is the side stream, e9 and e10 are the first buffer's, e13 marks the beginning.
  EXPECT_THAT(fake_.calls,
              ElementsAre("record e13 s2", "wait s4 e13", "wait s4 e9", "call host s4",
                          "record e10 s4", "wait s2 e10", "copy 8 s2", "record e9 s2"));
  fake_.calls.clear();
  queue_->copy(pageable.data(), device_.base(), 8_B);
  EXPECT_THAT(fake_.calls, ElementsAre("wait s2 e12", "copy 8 s2", "record e11 s2", "wait s4 e11",
                                       "call host s4", "record e12 s4", "wait s2 e12"));
}

TEST_F(CudaQueueTest, WithoutPinnedBuffersStillCopiesBehindEarlierWork) {
  fake_.fail("allocate_pinned", kCudaNotPermitted);
  std::vector<std::byte> pageable(8, std::byte{3});
  testing::internal::CaptureStderr();
  queue_->copy(device_.base(), pageable.data(), 8_B);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("cannot pin a small buffer"));
  EXPECT_THAT(fake_.calls, ElementsAre("synchronize s2", "copy 8 s2"));
  EXPECT_EQ(device_.base()[7], std::byte{3});
}

TEST_F(CudaQueueTest, ErrorOfTheDeviceIsThrownWhereItIsWaitedFor) {
  const Queue::Ticket ticket = queue_->mark();
  fake_.break_device(kCudaIllegalAddress);
  for (int again = 0; again < 2; ++again) {
    const Error error = error_of([&] { queue_->synchronize(ticket); });
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_STREQ(error.what(),
                 "cannot finish the work on the GPU: a kernel failed on the GPU: a fault was "
                 "injected (cudaErrorFake); the last saved state is intact; please report this as "
                 "a bug");
  }
}

TEST_F(CudaQueueTest, LostGpuFailsEveryQueueAndHangsNobody) {
  queue_->mark();
  fake_.break_device(kCudaUnknown);
  queue_->copy(device_.base(), device_.base() + 64, 64_B);
  other_.wait(*queue_, queue_->mark());
  const Queue::Ticket ticket = other_.mark();
  EXPECT_THAT(error_of([&] { other_.synchronize(ticket); }).what(),
              HasSubstr("the GPU does not answer any more"));
  EXPECT_THROW(queue_->synchronize(1), Error);
  EXPECT_THROW(queue_->native(), Error);
}

TEST_F(CudaQueueTest, FailureOfACallIsThrownBehindItAndNotBefore) {
  const Queue::Ticket before = queue_->mark();
  fake_.fail("copy", 1);
  queue_->copy(device_.base(), device_.base() + 64, 64_B);
  const Queue::Ticket behind = queue_->mark();
  EXPECT_EQ(behind, before + 1);
  EXPECT_NO_THROW(queue_->synchronize(before));
  EXPECT_THROW(queue_->synchronize(behind), Error);
  // Whoever waits for it fails with it; whoever waits for what lay before does not.
  other_.wait(*queue_, before);
  EXPECT_NO_THROW(other_.synchronize(other_.mark()));
  other_.wait(*queue_, behind);
  EXPECT_THAT(error_of([&] { other_.synchronize(other_.mark()); }).what(),
              HasSubstr("cannot copy between device and host"));
}

TEST_F(CudaQueueTest, DropsWhatLiesBehindAFailure) {
  fake_.fail("copy", 1);
  queue_->copy(device_.base(), device_.base() + 64, 64_B);
  fake_.calls.clear();
  queue_->copy(device_.base(), device_.base() + 64, 64_B);
  queue_->mark();
  EXPECT_TRUE(fake_.calls.empty());
}

TEST(CudaQueue, ReturnsEverythingOnABrokenDeviceToo) {
  FakeCuda fake;
  {
    const CudaContext context(fake.api(), 0);
    const auto clock = std::make_shared<CudaClock>(context);
    CudaDeviceArena device(context, 1_MiB);
    CudaHostArena host(context, {.size = 64_KiB});
    CudaQueue queue(context, clock, 5);
    std::vector<std::byte> pageable(8);
    queue.copy(device.base(), pageable.data(), 8_B);
    fake.break_device(kCudaEcc);
    EXPECT_THAT(error_of([&] { queue.synchronize(queue.mark()); }).what(), HasSubstr("(ECC)"));
  }
  EXPECT_EQ(fake.alive(), 0);
}

}  // namespace
}  // namespace sluice

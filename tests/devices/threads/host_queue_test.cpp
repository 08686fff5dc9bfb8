// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/host_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "devices/host/host_accelerator.h"

namespace sluice {
namespace {

using namespace literals;

// A queue with workers of its own.
struct QueueFixture {
  explicit QueueFixture(LinkPace pace = {}, int threads = 1, std::size_t marks = 64)
      : workers(threads), queue(workers, pace, marks) {}
  void finish() { queue.synchronize(queue.mark()); }

  Workers workers;
  HostQueue queue;
};

// Holds a queue until it is opened.
struct Gate {
  void hold(HostQueue& queue) {
    queue.enqueue([this](Workers&) { open.wait(false); });
  }
  void release() {
    open = true;
    open.notify_all();
  }
  std::atomic<bool> open{false};
};

TEST(HostQueue, RunsWorkInOrderEvenWhenTheRingIsFull) {
  QueueFixture fixture;
  std::vector<int> order;
  for (int i = 0; i < 5000; ++i) {
    fixture.queue.enqueue([&order, i](Workers&) { order.push_back(i); });
  }
  fixture.finish();
  std::vector<int> expected(5000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(HostQueue, TicketsAreIssuedBeforeTheyAreReached) {
  QueueFixture fixture;
  Gate gate;
  std::atomic<bool> ran{false};
  gate.hold(fixture.queue);
  fixture.queue.enqueue([&](Workers&) { ran = true; });
  const Queue::Ticket ticket = fixture.queue.mark();
  EXPECT_EQ(ticket, 1U);
  EXPECT_FALSE(ran);
  gate.release();
  fixture.queue.synchronize(ticket);
  EXPECT_TRUE(ran);
}

TEST(HostQueue, WaitsForAnotherQueueWithoutBlockingTheCaller) {
  QueueFixture producer;
  QueueFixture consumer;
  Gate gate;
  int value = 0;  // plain: ThreadSanitizer sees a missing edge
  gate.hold(producer.queue);
  producer.queue.enqueue([&](Workers&) { value = 42; });
  const Queue::Ticket produced = producer.queue.mark();

  int seen = 0;
  consumer.queue.wait(producer.queue, produced);
  consumer.queue.enqueue([&](Workers&) { seen = value; });
  const Queue::Ticket consumed = consumer.queue.mark();  // here although nothing ran yet
  gate.release();
  consumer.queue.synchronize(consumed);
  EXPECT_EQ(seen, 42);
}

TEST(HostQueue, TwoQueuesPassABatonManyTimes) {
  QueueFixture left;
  QueueFixture right;
  int baton = 0;
  for (int i = 0; i < 2000; ++i) {
    left.queue.enqueue([&](Workers&) { ++baton; });
    right.queue.wait(left.queue, left.queue.mark());
    right.queue.enqueue([&](Workers&) { ++baton; });
    left.queue.wait(right.queue, right.queue.mark());
  }
  left.finish();
  EXPECT_EQ(baton, 4000);
}

TEST(HostQueue, FailureDropsWhatFollowsAndReachesSynchronize) {
  QueueFixture fixture;
  bool ran = false;
  const Queue::Ticket before = fixture.queue.mark();
  fixture.queue.enqueue([](Workers&) { throw std::runtime_error("first"); });
  fixture.queue.enqueue([&](Workers&) {
    ran = true;
    throw std::runtime_error("second");
  });
  const Queue::Ticket after = fixture.queue.mark();
  EXPECT_NO_THROW(fixture.queue.synchronize(before));
  try {
    fixture.queue.synchronize(after);
    FAIL() << "no failure";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
  EXPECT_FALSE(ran);
  EXPECT_NO_THROW(fixture.queue.synchronize(before)) << "work before the failure was good";
  EXPECT_THROW(fixture.queue.synchronize(fixture.queue.mark()), std::runtime_error);
}

TEST(HostQueue, FailureSpreadsToQueuesThatWaitForIt) {
  QueueFixture producer;
  QueueFixture consumer;
  bool ran = false;
  producer.queue.enqueue([](Workers&) { throw std::runtime_error("disk"); });
  consumer.queue.wait(producer.queue, producer.queue.mark());
  consumer.queue.enqueue([&](Workers&) { ran = true; });
  EXPECT_THROW(consumer.finish(), std::runtime_error);
  EXPECT_FALSE(ran);
}

TEST(HostQueue, DestructorRunsAllThatWasEnqueued) {
  std::atomic<int> runs{0};
  {
    QueueFixture fixture;
    for (int i = 0; i < 100; ++i) fixture.queue.enqueue([&](Workers&) { ++runs; });
  }
  EXPECT_EQ(runs, 100);
}

TEST(HostQueue, BeginsOnceAllItsThreadsHaveRun) {
  HostAccelerator host({.threads = 4, .muster = Seconds{20}});
  const auto queue = host.create_queue(QueueKind::kCompute, 1);
  int seen = 0;
  static_cast<HostQueue&>(*queue).enqueue(
      [&seen](Workers& workers) { seen = workers.threads_seen(); });
  queue->synchronize(queue->mark());
  EXPECT_GE(seen, 4);
}

TEST(HostQueue, CopiesEveryByteOnManyThreads) {
  QueueFixture fixture({}, /*threads=*/3);
  std::vector<unsigned char> from((3 << 20) + 17);
  std::iota(from.begin(), from.end(), static_cast<unsigned char>(1));
  std::vector<unsigned char> to(from.size() + 1, 0xee);
  fixture.queue.copy(to.data(), from.data(), {static_cast<std::int64_t>(from.size())});
  fixture.queue.copy(to.data(), from.data(), 0_B);
  fixture.finish();
  EXPECT_EQ(std::memcmp(to.data(), from.data(), from.size()), 0);
  EXPECT_EQ(to.back(), 0xee);
}

TEST(HostQueue, PacedCopyEndsNoEarlierThanTheLinkAllows) {
  QueueFixture fixture({.rate = {100e6}, .latency = Seconds{1e-3}});
  std::vector<std::byte> from(1'000'000);
  std::vector<std::byte> to(from.size());
  const Seconds start = steady_seconds();
  Queue::Ticket last = 0;
  for (int i = 0; i < 4; ++i) {
    fixture.queue.copy(to.data(), from.data(), {1'000'000});
    last = fixture.queue.mark();
  }
  fixture.queue.synchronize(last);
  EXPECT_GE((fixture.queue.time_of(last) - start).count(), 4 * 11e-3);
}

TEST(HostQueue, TimesOfTicketsAreInOrder) {
  QueueFixture fixture({}, 1, /*marks=*/8);
  std::array<Queue::Ticket, 8> tickets{};
  for (int round = 0; round < 10; ++round) {
    for (Queue::Ticket& ticket : tickets) ticket = fixture.queue.mark();
    fixture.queue.synchronize(tickets.back());
    for (std::size_t i = 1; i < tickets.size(); ++i) {
      EXPECT_LE(fixture.queue.time_of(tickets[i - 1]), fixture.queue.time_of(tickets[i]));
    }
  }
}

TEST(HostQueueDeathTest, TimeOfATicketLongGoneIsABug) {
  QueueFixture fixture({}, 1, /*marks=*/2);
  for (int i = 0; i < 3; ++i) fixture.queue.mark();
  fixture.finish();
  EXPECT_DEATH(fixture.queue.time_of(1), "times.size");
}

}  // namespace
}  // namespace sluice

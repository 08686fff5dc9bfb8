// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/host/link_clock.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

// 1000 bytes per second, a second of latency: times in whole seconds.
constexpr LinkPace kPace{{1000}, Seconds{1}};

TEST(LinkClock, CopyTakesLatencyAndBytesOverRate) {
  LinkClock link(kPace);
  EXPECT_DOUBLE_EQ(link.end_of_copy(Seconds{10}, {2000}).count(), 13);
}

TEST(LinkClock, BackToBackCopiesDoNotAddUpOversleep) {
  LinkClock link(kPace);
  const Seconds first = link.end_of_copy(Seconds{10}, {2000});
  // The second was enqueued at 10.5 as well, and begins when the link is free
  // however late the thread woke up.
  EXPECT_DOUBLE_EQ(link.end_of_copy(Seconds{10.5}, {2000}).count(), first.count() + 3);
}

TEST(LinkClock, IdleLinkEarnsNoCredit) {
  LinkClock link(kPace);
  link.end_of_copy(Seconds{10}, {2000});
  EXPECT_DOUBLE_EQ(link.end_of_copy(Seconds{100}, {2000}).count(), 103);
}

TEST(LinkClock, MemorySlowerThanTheLinkKeepsItBusy) {
  LinkClock link(kPace);
  const Seconds planned = link.end_of_copy(Seconds{10}, {2000});
  link.ended(Seconds{20}, planned);
  EXPECT_DOUBLE_EQ(link.end_of_copy(Seconds{11}, {2000}).count(), 23);
}

TEST(LinkClock, WithoutARateIsNotPaced) { EXPECT_FALSE(LinkClock(LinkPace{}).paced()); }

}  // namespace
}  // namespace sluice

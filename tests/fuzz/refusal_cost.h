// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A bad file is refused at little cost, whatever it promises.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>

#include "devices/base/error.h"

namespace sluice {

#if defined(SLUICE_SANITIZE_address) || defined(SLUICE_SANITIZE_thread)
constexpr double kRefusalSeconds = 1;  // sanitizers take their own time and memory
constexpr std::int64_t kRefusalBytes = 256 << 20;
#else
constexpr double kRefusalSeconds = 0.05;
constexpr std::int64_t kRefusalBytes = 16 << 20;
#endif

struct RefusalCost {
  double seconds = 0;      // of CPU, so that a busy machine is no slow one
  std::int64_t bytes = 0;  // resident at the most
};

// In a process of its own, which has no free memory of earlier cases to take again.
inline RefusalCost cost_in_a_child(const std::function<void()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    act();
    ::_exit(0);
  }
  int status = 0;
  rusage usage{};
  SLUICE_CHECK(child > 0 && ::wait4(child, &status, 0, &usage) == child);
  EXPECT_EQ(status, 0);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return {seconds(usage.ru_utime) + seconds(usage.ru_stime), std::int64_t{usage.ru_maxrss} << 10};
}

// `read` throws Error, and takes at most 50 ms and 16 MiB: the best of ten tries, beyond
// what a child takes that does nothing.
inline void expect_cheap_refusal(const std::string& name, const std::function<void()>& read) {
  const auto refuse = [&] {
    try {
      read();
    } catch (const Error&) {
      return;
    }
    ::_exit(1);
  };
  const std::int64_t idle = cost_in_a_child([] {}).bytes;
  RefusalCost least = cost_in_a_child(refuse);
  const auto is_cheap = [&] {
    return least.seconds <= kRefusalSeconds && least.bytes - idle <= kRefusalBytes;
  };
  for (int again = 0; again < 9 && !is_cheap(); ++again) {
    const RefusalCost cost = cost_in_a_child(refuse);
    least = {std::min(least.seconds, cost.seconds), std::min(least.bytes, cost.bytes)};
  }
  EXPECT_TRUE(is_cheap()) << name << ": " << least.seconds << " s, " << least.bytes - idle
                          << " bytes";
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Whether a call that failed is worth making again. Bounded, so that a drive which is gone
// ends the run within seconds, and slowed down, so that a busy one is not asked in a loop.

#include <cerrno>
#include <chrono>
#include <thread>

namespace sluice {

class Retries {
 public:
  static constexpr int kInterrupted = 1000;  // EINTR, EAGAIN, EBUSY, ENOMEM: about a second
  static constexpr int kFailed = 4;          // EIO, ECANCELED: a drive may recover a sector

  // Sleeps before it says yes, where the call came back without having waited.
  bool again(int error_number) {
    switch (error_number) {
      case EINTR:
      case EAGAIN:
      case EBUSY:
      case ENOMEM:
        if (++interrupted_ > 10) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return interrupted_ <= kInterrupted;
      case EIO:
      case ECANCELED:
        if (++failed_ > kFailed) return false;
        std::this_thread::sleep_for(
            std::chrono::milliseconds(1 << (2 * failed_ - 2)));  // 85 in all
        return true;
      default:
        return false;
    }
  }

 private:
  int interrupted_ = 0, failed_ = 0;
};

}  // namespace sluice

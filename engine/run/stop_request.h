// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// While it lives, SIGINT, SIGTERM, SIGUSR1 and SIGHUP ask for an end (of training: after the step),
// as does a deadline. A second SIGINT, 0.3 s or more after the first, ends the process at once
// (130), with every finished file intact; a second signal of another kind changes nothing. While
// there is nothing to save, the first one ends the process (75).
// One at a time in a process.

#include <atomic>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "devices/base/units.h"

namespace sluice {

constexpr int kStopped = 75;  // the exit code: EX_TEMPFAIL of sysexits.h

// What people are told.
struct StopLines {
  std::string_view asked, ended_at_once;
};
inline constexpr StopLines kStopOfTraining{"stopping after this step, and saving",
                                           "the last steps were not saved"};

class StopRequest {
 public:
  // `limit`: from now on; the end is asked for early enough to leave what reserve() says.
  // Borrows the lines, for the life of the process.
  explicit StopRequest(std::optional<Seconds> limit = std::nullopt,
                       const StopLines& lines = kStopOfTraining);
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  // As long as no step has begun: a signal or the deadline, one that came before too, removes these
  // files and empty folders, in this order, and ends the process; planning and loading take long.
  void leave_at_once(std::vector<std::string> made);
  // From now on there is something to save.
  void finish_step();

  bool asked() const;
  std::string reason() const;  // "signal" or "deadline"; empty: nobody asked

  // What the run still needs once it is asked: the step under way, and saving.
  void reserve(Seconds needed) { reserve_ = needed.count(); }

 private:
  bool late() const;

  std::deque<std::vector<std::string>> made_;  // a handler in another thread may still read one
  std::optional<Seconds> end_;                 // on the clock of steady_seconds()
  std::atomic<double> reserve_{0};
  std::jthread watch_;  // of the deadline, while nothing else looks at it
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// While it lives, SIGINT, SIGTERM and SIGUSR1 ask for an end after the step; a
// second SIGINT ends the process at once (130), with every finished file intact.
// One at a time in a process.

namespace sluice {

class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;

  bool asked() const;
};

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// When copies on a simulated link start and end. Pure arithmetic on the times it
// is given, so that its rules are tested without sleeping.

#include <algorithm>

#include "devices/accelerator_options.h"

namespace sluice {

class LinkClock {
 public:
  explicit LinkClock(LinkPace pace) : pace_(pace) {}

  bool paced() const { return pace_.rate.value > 0; }

  // The end of a copy of `size` that could start at `ready`. It starts then, or
  // when the link is free if that is later: what the sleep before it overshot is
  // not added up, because `ready` of a waiting copy lies before that.
  Seconds end_of_copy(Seconds ready, Bytes size) {
    free_ = std::max(ready, free_) + pace_.latency + size / pace_.rate;
    return free_;
  }

  // The copy really ended at `now`: where memory was slower than the link, the
  // link was busy until then.
  void ended(Seconds now, Seconds planned_end) {
    if (now > planned_end) free_ = std::max(free_, now);
  }

 private:
  LinkPace pace_;
  Seconds free_{};
};

}  // namespace sluice

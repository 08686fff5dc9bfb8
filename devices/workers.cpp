// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/workers.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "devices/accelerator.h"
#include "devices/base/error.h"

namespace sluice {

void Workers::muster(Seconds patience) {
  if (threads() == 1) return;
  const Seconds start = steady_seconds();
  while (threads_seen() < threads()) {
    if (steady_seconds() - start > patience) {
      throw Error(ErrorKind::kInternal,
                  fmt::format("{} threads were asked for, {} ran", threads(), threads_seen()));
    }
    for_each(8 * threads(),
             [](std::int64_t) { std::this_thread::sleep_for(std::chrono::microseconds(200)); });
  }
}

}  // namespace sluice

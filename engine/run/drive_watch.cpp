// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/drive_watch.h"

#include <fmt/format.h>

#include "devices/base/format.h"

namespace sluice {

std::optional<std::string> DriveWatch::observe(Bytes moved, Seconds busy) {
  if (moved.value == 0 || busy.count() <= 0) return std::nullopt;
  const double now = static_cast<double>(moved.value) / busy.count();
  if (pace_ == 0 || now * kSlower >= pace_ || busy < kWorth) {
    pace_ = pace_ == 0 ? now : 0.8 * pace_ + 0.2 * now;
    slow_steps_ = 0;
    return std::nullopt;
  }
  if (++slow_steps_ < kSteps || said_) return std::nullopt;
  said_ = true;
  return fmt::format(
      "storage has become slow: lane {} moves {}/s, {}/s before; the run goes on (iostat -x shows "
      "who uses the drive; another --limits.storage_path)",
      lane_, format_bytes({static_cast<std::int64_t>(now)}),
      format_bytes({static_cast<std::int64_t>(pace_)}));
}

}  // namespace sluice

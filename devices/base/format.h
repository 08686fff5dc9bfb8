// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Amounts as people write and read them. Powers of two are KiB, MiB, GiB; rates
// are decimal (GB/s), as drives and links are sold.

#include <string>
#include <string_view>

#include "devices/base/units.h"

namespace sluice {

std::string format_bytes(Bytes size);          // "61.2 MiB", "512 B"
std::string format_seconds(Seconds duration);  // "12.3 ms", "4.50 s", "2 h 05 min"
std::string format_rate(BytesPerSecond rate);  // "1.20 GB/s"
std::string format_count(double count);        // "6.3 M", "1.24 B"; plain below 10,000

// A name or text out of a stranger's file, fit for one line of a message: without
// control characters, cut after 80 bytes.
std::string printable(std::string_view text);

// "64MiB", "1.5 GiB", "2GB", "4096". Not negative, a whole number of bytes after
// rounding. Errors: kConfig that names what was expected.
Bytes parse_bytes(std::string_view text);

// "2h30m", "90s", "45m", "1.5h", "7d"; a number alone is seconds. More than 0. Errors: kConfig.
Seconds parse_duration(std::string_view text);

// "25GB/s", "1.5GiB/s", "300MB/s", "1e9". Errors: as above.
BytesPerSecond parse_rate(std::string_view text);

}  // namespace sluice

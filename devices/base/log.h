// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Talk for people, on standard error. Results go to standard output and are not
// logged. Nothing here is called inside a step below offload/.
//
// Threads  any; lines never mix.

#include <string_view>

namespace sluice {

// Progress and choices made. Silent after set_quiet(true), except in the log file.
void log_info(std::string_view line);

// Of what the terminal shows in another way.
void log_to_file(std::string_view line);

// Someone must act, or will wonder. Shown even when quiet.
void log_warn(std::string_view line);

void set_quiet(bool quiet);
bool is_quiet();

// From now on every line is written to this file too, which stays the caller's; -1 ends that.
// What cannot be written there is lost.
void set_log_file(int descriptor);

}  // namespace sluice

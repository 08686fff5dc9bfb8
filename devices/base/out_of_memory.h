// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

namespace sluice {

// From now on a process whose memory is refused where no exception may pass (a destructor of
// a library, a thread's end) says so in one line and exits with 3, instead of aborting. What
// it held is left as a kill leaves it. Other failures that nothing catches abort as before.
void exit_where_memory_is_refused();

}  // namespace sluice

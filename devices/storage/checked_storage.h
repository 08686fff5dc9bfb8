// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A Storage whose reads give what was last written there, or fail: bits that flipped on
// the drive or on the way, writes that went elsewhere or nowhere.
//
// A checksum of each page of 4 KiB is kept in memory, 1/512 of the storage's size, so that
// whatever is read is checked, however it was cut when it was written. The table's index is
// the offset and its entry is of the page's last write: a stale or misplaced page differs
// unless it holds the very bytes that it should. Pages never written are not checked.

#include <filesystem>
#include <memory>

#include "devices/storage.h"

namespace sluice {

// Writes are summed by the thread that starts them, reads by a thread of the Storage's own,
// before its listener is told. `file` is for messages.
// Errors   kNoFit where the table has no room in RAM; completed() gets kIo with file and
//          offset where a page is not as it was written.
// Threads  as Storage. A transfer that overlaps one not yet completed is a bug already there.
std::unique_ptr<Storage> check_pages(std::unique_ptr<Storage> inner, std::filesystem::path file);

}  // namespace sluice

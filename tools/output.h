// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Where results go.

#include <string>
#include <string_view>

namespace sluice {

// Writes `text` to `path`, whole or not at all; to standard output for "-", and in
// place where `path` is a device or a pipe. Error{kIo}.
void write_output(const std::string& path, std::string_view text);

// Error{kIo} where write_output will fail for lack of a folder or of permission, for its name, or
// because it is a device that takes nothing: asked before work that takes long. An empty `path` is
// fine.
void require_writable(const std::string& path);

// Error{kIo} where something printed on standard output was lost, unless its reader has gone
// and had enough.
void flush_results();

// From now on a pipe whose reader has gone, as `head` and a pager do, ends nothing, and a file
// longer than `ulimit -f` allows is an error like a full disk.
void outlive_limits();

}  // namespace sluice

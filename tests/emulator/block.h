// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The threads of one block of an emulated kernel, on one thread of the host: each has a stack of
// its own and runs until it waits for others of its warp or its block.
//
// Order        threads run one after the other between two meetings, forwards in one block and
//              backwards in the next: what lacks a barrier reads what is not there yet in one of
//              them. Under ThreadSanitizer each is a fiber of its own, ordered by its meetings
//              alone, so that a missing barrier is a race it reports.
// Errors       a meeting that not all come to (a barrier or an exchange in a branch) ends the
//              process with one line; on a GPU it would hang.
// Threads      a kernel runs on the thread that calls run_block, for which these are.

#include <cstdint>
#include <functional>

namespace emulator {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;

// Runs `kernel` on each of `threads` threads, `thread` its index meanwhile. False where one of them
// trapped; what the others did until then is done.
bool run_block(int threads, bool backwards, unsigned* thread, const std::function<void()>& kernel);

// For the thread that runs: waits for the block's others. Whether any of them came with `yes`.
bool meet(bool yes);

// Puts `value` where the warp sees it and waits for the warp; then what each lane has put there, in
// order of lanes, until the next but one exchange. All 32 lanes take part.
const std::uint64_t* exchange(std::uint64_t value);

// Ends the thread that runs, and the kernel with an error.
[[noreturn]] void trap();

}  // namespace emulator

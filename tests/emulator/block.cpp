// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tests/emulator/block.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tests/emulator/fiber.h"

namespace emulator {
namespace {

enum class State { kReady, kAtWarp, kAtBlock, kDone };

// Where the threads of a warp, or of a block, meet. Two places in turn: who is at the next meeting
// must not be ordered before those that have not left this one.
struct Meeting {
  char places[2] = {};
};

[[noreturn]] EMULATOR_UNSEEN void fail(const char* why) {
  std::fprintf(stderr, "emulated kernel: %s\n", why);
  std::abort();
}

class Block {
 public:
  bool run(int threads, bool backwards, unsigned* thread, const std::function<void()>& kernel);
  bool vote(bool yes);
  const std::uint64_t* exchange(std::uint64_t value);
  [[noreturn]] void trap();
  [[noreturn]] void run_thread();

 private:
  struct Thread {
    std::unique_ptr<Fiber> owned;
    Fiber* fiber = nullptr;
    State state = State::kDone;
    unsigned barriers = 0, exchanges = 0;  // it came to
  };
  struct Warp {
    Meeting meeting;
    std::uint64_t slots[2][kWarp] = {};
    int running = 0;  // lanes that have not ended
    int waiting = 0;  // of them for the others
  };

  void prepare(int threads);
  bool resume_ready();
  bool let_go();
  void go_on(Fiber& from);
  void go(Fiber& from, int thread);

  static constexpr std::size_t kStack = std::size_t{128} << 10;
  // At all distances from a multiple of a page: else the frames of all threads would share a few
  // lines of the cache.
  static constexpr std::size_t kStride = kStack + 832;

  const std::unique_ptr<std::byte[]> stacks_ =
      std::make_unique_for_overwrite<std::byte[]>(kStride * kMostThreads);
  Fiber host_;
  Thread threads_[kMostThreads];
  Warp warps_[kMostThreads / kWarp];
  Meeting block_meeting_;
  char start_ = 0, end_ = 0;  // of a kernel, for ThreadSanitizer
  const std::function<void()>* kernel_ = nullptr;
  unsigned* index_ = nullptr;
  int count_ = 0;
  int current_ = 0;
  bool backwards_ = false;
  bool votes_ = false, outcome_ = false;  // whether any of the block's voted: now, the last time
  bool trapped_ = false;
};

// Of the host thread, whose blocks it runs one after the other.
constinit thread_local Block* block = nullptr;

EMULATOR_UNSEEN void enter_thread() { block->run_thread(); }

EMULATOR_UNSEEN void Block::prepare(int threads) {
  if (threads < 1 || threads > kMostThreads) fail("a block of no threads or too many");
  count_ = threads;
  votes_ = trapped_ = false;
  for (int t = 0; t < threads; ++t) {
    Warp& warp = warps_[t / kWarp];
    if (t % kWarp == 0) warp.running = warp.waiting = 0;
    ++warp.running;
    Thread& thread = threads_[t];
    if (thread.fiber == nullptr) {
      std::byte* const stack = stacks_.get() + static_cast<std::size_t>(t) * kStride;
      thread.owned = std::make_unique<Fiber>(enter_thread, stack, kStack);
      thread.fiber = thread.owned.get();
    }
    thread.state = State::kReady;
    thread.barriers = thread.exchanges = 0;
  }
}

EMULATOR_UNSEEN bool Block::run(int threads, bool backwards, unsigned* thread,
                                const std::function<void()>& kernel) {
  prepare(threads);
  kernel_ = &kernel;
  index_ = thread;
  backwards_ = backwards;
  release(&start_);
  while (resume_ready() || let_go()) continue;
  for (int t = 0; t < count_; ++t) {
    if (threads_[t].state != State::kDone) fail("threads wait for others that are elsewhere");
  }
  acquire(&end_);
  return !trapped_;
}

EMULATOR_UNSEEN bool Block::resume_ready() {
  bool ran = false;
  for (int i = 0; i < count_; ++i) {
    const int t = backwards_ ? count_ - 1 - i : i;
    if (threads_[t].state != State::kReady) continue;
    go(host_, t);
    ran = true;
  }
  return ran;
}

// Lets the block go if all of its threads that have not ended wait for each other.
EMULATOR_UNSEEN bool Block::let_go() {
  bool any = false;
  for (int t = 0; t < count_; ++t) {
    if (threads_[t].state == State::kAtWarp) return false;
    any = any || threads_[t].state == State::kAtBlock;
  }
  for (int t = 0; t < count_; ++t) {
    if (threads_[t].state == State::kAtBlock) threads_[t].state = State::kReady;
  }
  outcome_ = votes_;
  votes_ = false;
  return any;
}

EMULATOR_UNSEEN void Block::go(Fiber& from, int thread) {
  current_ = thread;
  *index_ = static_cast<unsigned>(thread);
  from.switch_to(*threads_[thread].fiber);
}

// From the thread that waits to a neighbour in its warp that can run, or to the host.
EMULATOR_UNSEEN void Block::go_on(Fiber& from) {
  const int first = current_ / kWarp * kWarp;
  const int lanes = first + kWarp < count_ ? kWarp : count_ - first;
  for (int i = 1; i < lanes; ++i) {
    const int lane = (current_ - first + (backwards_ ? lanes - i : i)) % lanes;
    if (threads_[first + lane].state == State::kReady) return go(from, first + lane);
  }
  from.switch_to(host_);
}

EMULATOR_UNSEEN bool Block::vote(bool yes) {
  Thread& here = threads_[current_];
  void* const place = &block_meeting_.places[here.barriers++ % 2];
  votes_ = votes_ || yes;
  here.state = State::kAtBlock;
  release(place);
  go_on(*here.fiber);
  acquire(place);
  return outcome_;
}

EMULATOR_UNSEEN const std::uint64_t* Block::exchange(std::uint64_t value) {
  Thread& here = threads_[current_];
  Warp& warp = warps_[current_ / kWarp];
  if (warp.running != kWarp) fail("an exchange lacks a lane");
  const unsigned turn = here.exchanges++ % 2;
  std::uint64_t* const slots = warp.slots[turn];
  slots[current_ % kWarp] = value;
  release(&warp.meeting.places[turn]);
  here.state = State::kAtWarp;
  if (++warp.waiting < kWarp) {
    go_on(*here.fiber);
  } else {
    warp.waiting = 0;
    const int first = current_ / kWarp * kWarp;
    for (int t = first; t < first + kWarp; ++t) threads_[t].state = State::kReady;
  }
  acquire(&warp.meeting.places[turn]);
  return slots;
}

EMULATOR_UNSEEN void Block::trap() {
  trapped_ = true;
  Thread& here = threads_[current_];
  here.state = State::kDone;
  --warps_[current_ / kWarp].running;
  release(&end_);
  here.fiber->restart();  // what is on the stack stays there, and is written over
  Fiber abandoned;
  abandoned.switch_to(host_);
  std::abort();
}

// The life of a thread: a kernel after the other.
EMULATOR_UNSEEN void Block::run_thread() {
  Thread& here = threads_[current_];
  Fiber::arrive(*here.fiber);
  while (true) {
    acquire(&start_);
    (*kernel_)();
    here.state = State::kDone;
    --warps_[current_ / kWarp].running;
    release(&end_);
    here.fiber->switch_to(host_);
  }
}

}  // namespace

bool run_block(int threads, bool backwards, unsigned* thread, const std::function<void()>& kernel) {
  static thread_local const std::unique_ptr<Block> owned = std::make_unique<Block>();
  block = owned.get();
  return block->run(threads, backwards, thread, kernel);
}

EMULATOR_UNSEEN bool meet(bool yes) { return block->vote(yes); }
EMULATOR_UNSEEN const std::uint64_t* exchange(std::uint64_t value) {
  return block->exchange(value);
}
EMULATOR_UNSEEN void trap() { block->trap(); }

}  // namespace emulator

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
  void meet(State at, Meeting& meeting);
  bool vote(bool yes);
  const std::uint64_t* exchange(std::uint64_t value);
  [[noreturn]] void trap();
  [[noreturn]] void run_thread();

 private:
  struct Thread {
    std::unique_ptr<Fiber> owned;
    Fiber* fiber = nullptr;
    State state = State::kDone;
    unsigned meetings[2] = {};  // it went to, of its warp and of its block
    unsigned exchanges = 0;
  };
  struct Warp {
    Meeting meeting;
    std::uint64_t slots[2][kWarp] = {};
  };

  void prepare(int threads);
  bool resume_ready(bool backwards);
  bool let_go();
  bool let_go(int first, int last, State from);

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
    Thread& thread = threads_[t];
    if (thread.fiber == nullptr) {
      std::byte* const stack = stacks_.get() + static_cast<std::size_t>(t) * kStride;
      thread.owned = std::make_unique<Fiber>(enter_thread, stack, kStack);
      thread.fiber = thread.owned.get();
    }
    thread.state = State::kReady;
    thread.meetings[0] = thread.meetings[1] = thread.exchanges = 0;
  }
}

EMULATOR_UNSEEN bool Block::run(int threads, bool backwards, unsigned* thread,
                                const std::function<void()>& kernel) {
  prepare(threads);
  kernel_ = &kernel;
  index_ = thread;
  release(&start_);
  while (true) {
    const bool ran = resume_ready(backwards);
    const bool freed = let_go();
    if (ran || freed) continue;
    bool done = true;
    for (int t = 0; t < count_; ++t) done = done && threads_[t].state == State::kDone;
    if (done) break;
    fail("threads wait for others that are elsewhere or have ended");
  }
  acquire(&end_);
  return !trapped_;
}

EMULATOR_UNSEEN bool Block::resume_ready(bool backwards) {
  bool ran = false;
  for (int i = 0; i < count_; ++i) {
    const int t = backwards ? count_ - 1 - i : i;
    if (threads_[t].state != State::kReady) continue;
    current_ = t;
    *index_ = static_cast<unsigned>(t);
    host_.switch_to(*threads_[t].fiber);
    ran = true;
  }
  return ran;
}

// Frees the warps and the block whose threads have all come.
EMULATOR_UNSEEN bool Block::let_go() {
  bool freed = false;
  for (int first = 0; first < count_; first += kWarp) {
    if (let_go(first, first + kWarp < count_ ? first + kWarp : count_, State::kAtWarp)) {
      freed = true;
    }
  }
  if (!let_go(0, count_, State::kAtBlock)) return freed;
  outcome_ = votes_;
  votes_ = false;
  return true;
}

EMULATOR_UNSEEN bool Block::let_go(int first, int last, State from) {
  bool any = false;
  for (int t = first; t < last; ++t) {
    if (threads_[t].state == from) {
      any = true;
    } else if (threads_[t].state != State::kDone) {
      return false;
    }
  }
  for (int t = first; t < last; ++t) {
    if (threads_[t].state == from) threads_[t].state = State::kReady;
  }
  return any;
}

EMULATOR_UNSEEN void Block::meet(State at, Meeting& meeting) {
  Thread& here = threads_[current_];
  void* const place = &meeting.places[here.meetings[at == State::kAtBlock]++ % 2];
  release(place);
  here.state = at;
  here.fiber->switch_to(host_);
  acquire(place);
}

EMULATOR_UNSEEN bool Block::vote(bool yes) {
  votes_ = votes_ || yes;
  meet(State::kAtBlock, block_meeting_);
  return outcome_;
}

EMULATOR_UNSEEN const std::uint64_t* Block::exchange(std::uint64_t value) {
  const int first = current_ / kWarp * kWarp;
  for (int t = first; t < first + kWarp; ++t) {
    if (t >= count_ || threads_[t].state == State::kDone) fail("an exchange lacks a lane");
  }
  std::uint64_t* const slots = warps_[current_ / kWarp].slots[threads_[current_].exchanges++ % 2];
  slots[current_ % kWarp] = value;
  meet(State::kAtWarp, warps_[current_ / kWarp].meeting);
  return slots;
}

EMULATOR_UNSEEN void Block::trap() {
  trapped_ = true;
  Thread& here = threads_[current_];
  here.state = State::kDone;
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

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A thread of execution with a stack of its own, switched by hand: libc's contexts begin one, and
// the compiler's jumps, which ask the kernel for nothing, do the rest; beside what sanitizers want
// to know of a switch.

#include <ucontext.h>

#include <cstddef>

// What switches fibers belongs to none of them, and leaves frames without a return.
#if defined(SLUICE_SANITIZE_address)
#include <sanitizer/common_interface_defs.h>
#define EMULATOR_UNSEEN __attribute__((no_sanitize("address")))
#elif defined(SLUICE_SANITIZE_thread)
#include <sanitizer/tsan_interface.h>
#define EMULATOR_UNSEEN __attribute__((no_sanitize("thread")))
#else
#define EMULATOR_UNSEEN
#endif

namespace emulator {

// Events of ThreadSanitizer's: what came before a release at an address has happened before what
// follows an acquire there. Nothing elsewhere.
EMULATOR_UNSEEN inline void release([[maybe_unused]] void* address) {
#ifdef SLUICE_SANITIZE_thread
  __tsan_release(address);
#endif
}
EMULATOR_UNSEEN inline void acquire([[maybe_unused]] void* address) {
#ifdef SLUICE_SANITIZE_thread
  __tsan_acquire(address);
#endif
}

// Threads  of one host thread.
class Fiber {
 public:
  // The one that runs, on the host thread's own stack.
  EMULATOR_UNSEEN Fiber() {
#ifdef SLUICE_SANITIZE_thread
    fiber_ = __tsan_get_current_fiber();
#endif
  }

  // One that starts in `entry`, which must not return, on a stack of the caller's.
  EMULATOR_UNSEEN Fiber(void (*entry)(), std::byte* stack, std::size_t size)
      : stack_(stack), size_(size), entry_(entry) {
#ifdef SLUICE_SANITIZE_thread
    fiber_ = __tsan_create_fiber(0);
    owns_ = true;
#endif
    restart();
  }

  EMULATOR_UNSEEN ~Fiber() {
#ifdef SLUICE_SANITIZE_thread
    if (owns_) __tsan_destroy_fiber(fiber_);
#endif
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Begins anew, in `entry`, at the next switch to it.
  EMULATOR_UNSEEN void restart() {
    begun_ = false;
#ifdef SLUICE_SANITIZE_address
    fake_stack_ = nullptr;
#endif
  }

  // From this one, which runs, to `other`; returns when something switches back.
  [[gnu::noinline]] EMULATOR_UNSEEN void switch_to(Fiber& other) {
#ifdef SLUICE_SANITIZE_thread
    __tsan_switch_to_fiber(other.fiber_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef SLUICE_SANITIZE_address
    __sanitizer_start_switch_fiber(&fake_stack_, other.bottom(), other.size());
#endif
    if (__builtin_setjmp(place_) == 0) jump(other);
#ifdef SLUICE_SANITIZE_address
    arrive(*this);
#endif
  }

  // What `entry` calls first.
  EMULATOR_UNSEEN static void arrive([[maybe_unused]] Fiber& here) {
#ifdef SLUICE_SANITIZE_address
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(here.fake_stack_, &bottom, &size);
    if (host_bottom == nullptr) {  // the first switch came from the host thread's stack
      host_bottom = bottom;
      host_size = size;
    }
#endif
  }

 private:
  // A function of its own, as the compiler wants it.
  [[noreturn, gnu::noinline]] EMULATOR_UNSEEN static void jump(Fiber& other) {
    if (other.begun_) __builtin_longjmp(other.place_, 1);
    other.begun_ = true;
    ucontext_t context;
    ::getcontext(&context);
    context.uc_stack = {.ss_sp = other.stack_, .ss_flags = 0, .ss_size = other.size_};
    context.uc_link = nullptr;
    ::makecontext(&context, other.entry_, 0);
    ::setcontext(&context);
    __builtin_unreachable();
  }

  void* place_[5] = {};  // where it left off
  bool begun_ = true;
  std::byte* const stack_ = nullptr;
  const std::size_t size_ = 0;
  void (*const entry_)() = nullptr;
#ifdef SLUICE_SANITIZE_thread
  void* fiber_ = nullptr;
  bool owns_ = false;
#endif
#ifdef SLUICE_SANITIZE_address
  const void* bottom() const { return stack_ != nullptr ? stack_ : host_bottom; }
  std::size_t size() const { return stack_ != nullptr ? size_ : host_size; }

  static inline thread_local const void* host_bottom = nullptr;
  static inline thread_local std::size_t host_size = 0;
  void* fake_stack_ = nullptr;
#endif
};

}  // namespace emulator

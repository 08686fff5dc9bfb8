// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// System calls that fail on purpose, put before libc's by LD_PRELOAD: so the command that
// users have is tested, and has no path that only tests take. What touches files acts on
// swap files alone (*.swap).
//
//   SLUICE_FAULTS="seed=7;read.EIO@17;write.short=0.01;ring_setup.EPERM=1"
//     POINT=P    each call fails with probability P, by the seed
//     POINT@K    the K-th call fails, counted from 1
//     POINT@K+   that one and all later ones
//   SLUICE_FAULTS_REPORT=FILE    at exit: a line "POINT calls faults" for each point named
//
// Points are call.how; `how` is short, an errno's name, or slow (20 ms). Calls:
//   read write        pread, pwrite, or what a submitted ring entry says
//   open              with O_DIRECT
//   ring_setup ring_submit ring_wait ring_register

#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

enum Call { kRead, kWrite, kOpen, kRingSetup, kRingSubmit, kRingWait, kRingRegister, kCalls };
constexpr std::array<const char*, kCalls> kCallNames = {
    "read", "write", "open", "ring_setup", "ring_submit", "ring_wait", "ring_register"};

struct ErrnoName {
  const char* name;
  int number;
};
constexpr int kShort = -1, kSlow = -2;
constexpr ErrnoName kHow[] = {
    {"short", kShort},  {"slow", kSlow},  {"EINTR", EINTR},   {"EAGAIN", EAGAIN},
    {"EBUSY", EBUSY},   {"EIO", EIO},     {"ENOSPC", ENOSPC}, {"ECANCELED", ECANCELED},
    {"ENOMEM", ENOMEM}, {"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"EINVAL", EINVAL}};

// Fixed arrays: nothing here may allocate, since allocations are among what fails.
struct Point {
  char name[32];
  Call call;
  int how;
  double probability;
  long first, last;  // of the calls that fail; 0: by probability
  std::atomic<long> calls, faults;
};
Point points[16];
int point_count = 0;
std::uint64_t seed = 1;
std::atomic<bool> swap_file[4096];  // by descriptor

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// A number between 0 and 1 for the n-th call at a point, whatever thread makes it.
double uniform(std::uint64_t point, std::uint64_t n) {
  std::uint64_t x = seed * 0x9e3779b97f4a7c15U + point * 0xbf58476d1ce4e5b9U + n;
  for (int i = 0; i < 3; ++i) x = (x ^ (x >> 29)) * 0x94d049bb133111ebU + 1;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

void add_point(const char* text) {
  if (std::sscanf(text, "seed=%lu", &seed) == 1) return;
  Point& point = points[point_count];
  const std::size_t end = std::strcspn(text, "=@");
  const char* const dot = std::strchr(text, '.');
  if (text[end] == 0 || dot == nullptr || end >= sizeof point.name) std::abort();
  std::memcpy(point.name, text, end);
  const std::string call(text, dot), how(dot + 1, text + end);
  const auto named = std::find(kCallNames.begin(), kCallNames.end(), call);
  const auto* const known = std::find_if(std::begin(kHow), std::end(kHow),
                                         [&](const ErrnoName& one) { return how == one.name; });
  if (named == kCallNames.end() || known == std::end(kHow)) std::abort();
  point.call = static_cast<Call>(named - kCallNames.begin());
  point.how = known->number;
  if (text[end] == '=') {
    point.probability = std::atof(text + end + 1);
  } else {
    char* rest = nullptr;
    point.first = std::strtol(text + end + 1, &rest, 10);
    point.last = *rest == '+' ? 1L << 60 : point.first;
  }
  ++point_count;
}

__attribute__((constructor)) void begin() {
  const char* text = std::getenv("SLUICE_FAULTS");
  while (text != nullptr && *text != 0) {
    const std::size_t length = std::strcspn(text, ";");
    add_point(std::string(text, length).c_str());
    text += length + (text[length] == ';' ? 1 : 0);
  }
}

__attribute__((destructor)) void report() {
  const char* const path = std::getenv("SLUICE_FAULTS_REPORT");
  std::FILE* const file = path != nullptr ? std::fopen(path, "w") : nullptr;
  if (file == nullptr) return;
  for (int i = 0; i < point_count; ++i) {
    std::fprintf(file, "%s %ld %ld\n", points[i].name, points[i].calls.load(),
                 points[i].faults.load());
  }
  std::fclose(file);
}

// What is to go wrong with this call: 0, an errno, kShort. Slow ones are slow here.
int fault(Call call) {
  for (int i = 0; i < point_count; ++i) {
    Point& point = points[i];
    if (point.call != call) continue;
    const long n = ++point.calls;
    const bool hit = point.first > 0 ? n >= point.first && n <= point.last
                                     : uniform(static_cast<std::uint64_t>(i),
                                               static_cast<std::uint64_t>(n)) < point.probability;
    if (!hit) continue;
    ++point.faults;
    if (point.how != kSlow) return point.how;
    usleep(20'000);
  }
  return 0;
}

bool is_swap(int descriptor) {
  return descriptor >= 0 && descriptor < 4096 && swap_file[descriptor];
}

// Half of it, in whole blocks: what direct I/O may give. One block is never short.
std::size_t half(std::size_t size) { return size <= 4096 ? size : size / 2 / 4096 * 4096; }

// The entries that wait to be submitted.
void spoil_entries(io_uring* ring) {
  const unsigned mask = ring->sq.ring_mask;
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; ++i) {
    io_uring_sqe& entry = ring->sq.sqes[i & mask];
    const bool write = entry.opcode == IORING_OP_WRITE || entry.opcode == IORING_OP_WRITE_FIXED;
    const bool read = entry.opcode == IORING_OP_READ || entry.opcode == IORING_OP_READ_FIXED;
    if (!write && !read) continue;
    const int how = fault(write ? kWrite : kRead);
    if (how == kShort) entry.len = static_cast<unsigned>(half(entry.len));
    if (how <= 0) continue;
    // An entry that does nothing but complete with this result (Linux 6.10).
    constexpr unsigned kInjectResult = 1;
    const std::uint64_t data = entry.user_data;
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_NOP;
    entry.fd = -1;
    entry.rw_flags = kInjectResult;
    entry.len = static_cast<unsigned>(-how);
    entry.user_data = data;
  }
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  static const auto real = next<int (*)(const char*, int, mode_t)>("open");
  const std::size_t length = std::strlen(path);
  const bool swap = length > 5 && std::strcmp(path + length - 5, ".swap") == 0;
  if (swap && (flags & O_DIRECT) != 0) {
    if (const int how = fault(kOpen)) return errno = how, -1;
  }
  const int descriptor = real(path, flags, mode);
  if (descriptor >= 0 && descriptor < 4096) swap_file[descriptor] = swap;
  return descriptor;
}

ssize_t pread(int descriptor, void* memory, std::size_t size, off_t offset) {
  static const auto real = next<ssize_t (*)(int, void*, std::size_t, off_t)>("pread");
  if (is_swap(descriptor)) {
    const int how = fault(kRead);
    if (how > 0) return errno = how, -1;
    if (how == kShort) size = half(size);
  }
  return real(descriptor, memory, size, offset);
}

ssize_t pwrite(int descriptor, const void* memory, std::size_t size, off_t offset) {
  static const auto real = next<ssize_t (*)(int, const void*, std::size_t, off_t)>("pwrite");
  if (is_swap(descriptor)) {
    const int how = fault(kWrite);
    if (how > 0) return errno = how, -1;
    if (how == kShort) size = half(size);
  }
  return real(descriptor, memory, size, offset);
}

int io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags) {
  static const auto real = next<int (*)(unsigned, io_uring*, unsigned)>("io_uring_queue_init");
  if (const int how = fault(kRingSetup)) return -how;
  return real(entries, ring, flags);
}

int io_uring_register_buffers(io_uring* ring, const iovec* vectors, unsigned count) {
  static const auto real =
      next<int (*)(io_uring*, const iovec*, unsigned)>("io_uring_register_buffers");
  if (const int how = fault(kRingRegister)) return -how;
  return real(ring, vectors, count);
}

int io_uring_submit(io_uring* ring) {
  static const auto real = next<int (*)(io_uring*)>("io_uring_submit");
  if (const int how = fault(kRingSubmit)) return -how;
  spoil_entries(ring);
  return real(ring);
}

int io_uring_wait_cqe_timeout(io_uring* ring, io_uring_cqe** entry, __kernel_timespec* limit) {
  static const auto real =
      next<int (*)(io_uring*, io_uring_cqe**, __kernel_timespec*)>("io_uring_wait_cqe_timeout");
  if (const int how = fault(kRingWait)) return -how;
  return real(ring, entry, limit);
}

}  // extern "C"

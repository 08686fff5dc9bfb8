// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {
namespace {

// What the device maps at once. A smaller allocation costs as much and may be
// aligned to 256 bytes only.
constexpr Bytes kGranule{std::int64_t{2} << 20};
constexpr std::uintptr_t kAlignment = 4096;

[[noreturn]] void does_not_fit(const CudaApi& api, Bytes size) {
  api.forget_error();
  std::size_t free = 0;
  std::size_t total = 0;
  static_cast<void>(api.memory_info(&free, &total));
  throw Error(ErrorKind::kNoFit,
              fmt::format("device memory of {} asked for, the GPU has {} free of {}: end what else "
                          "runs there, or lower --limits.device",
                          format_bytes(size), format_bytes({static_cast<std::int64_t>(free)}),
                          format_bytes({static_cast<std::int64_t>(total)})));
}

CudaMemory allocate(const CudaContext& context, Bytes size) {
  context.enter();
  void* memory = nullptr;
  const int status = context.api().allocate(&memory, count(std::max(size, kGranule)));
  if (status == kCudaNoMemory) does_not_fit(context.api(), size);
  check_cuda(context.api(), status, "allocate device memory", CudaPhase::kStart);
  return CudaMemory(memory, {context});
}

}  // namespace

CudaDeviceArena::CudaDeviceArena(const CudaContext& context, Bytes size)
    : memory_(allocate(context, size)), size_(size) {
  if (reinterpret_cast<std::uintptr_t>(memory_.get()) % kAlignment != 0) {
    throw Error(ErrorKind::kInternal, "cudaMalloc gave memory that is not aligned to 4 KiB");
  }
  // Touched, as every arena: a broken page of memory shows now.
  if (size.value > 0) {
    check_cuda(context.api(), context.api().fill_with_zero(memory_.get(), count(size)),
               "write the device's memory", CudaPhase::kStart);
  }
}

Bytes within_piece(const void* address, Bytes size) {
  constexpr auto piece = static_cast<std::uintptr_t>(CudaHostArena::kPinnedPiece);
  const std::uintptr_t left = piece - reinterpret_cast<std::uintptr_t>(address) % piece;
  return std::min(size, Bytes{static_cast<std::int64_t>(left)});
}

CudaHostArena::CudaHostArena(const CudaContext& context, const MappedMemoryOptions& options)
    : context_(context), memory_(options) {
  context_.enter();
  const int status = pin_all();
  if (status == kCudaSuccess) return;
  context_.api().forget_error();
  log_warn(
      fmt::format("{} of {} of host memory could be pinned ({}): copies of the rest go "
                  "through a small pinned buffer and are slower; see ulimit -l",
                  format_bytes(pinned_), format_bytes(size()), context_.api().error_name(status)));
}

int CudaHostArena::pin_all() {
  while (pinned_ < size()) {
    std::byte* const first = base() + pinned_.value;
    const Bytes piece = within_piece(first, size() - pinned_);
    const int status = context_.api().pin(first, count(piece));
    if (status != kCudaSuccess) return status;
    pinned_ += piece;
  }
  return kCudaSuccess;
}

CudaHostArena::~CudaHostArena() {
  context_.enter_quietly();
  for (Bytes unpinned{}; unpinned < pinned_;) {
    std::byte* const first = base() + unpinned.value;
    static_cast<void>(context_.api().unpin(first));
    unpinned += within_piece(first, pinned_ - unpinned);
  }
}

}  // namespace sluice

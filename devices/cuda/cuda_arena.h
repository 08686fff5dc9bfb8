// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The two arenas of a CUDA device: its own memory, and host memory that its copy
// engines reach.

#include "devices/accelerator.h"
#include "devices/cuda/cuda_context.h"
#include "devices/mapped_memory.h"

namespace sluice {

// One allocation of exactly the size asked for, zeroed.
class CudaDeviceArena final : public Arena {
 public:
  // Errors: kNoFit with what the device has free.
  CudaDeviceArena(const CudaContext& context, Bytes size);

  std::byte* base() noexcept override { return static_cast<std::byte*>(memory_.get()); }
  Bytes size() const noexcept override { return size_; }

 private:
  CudaMemory memory_;
  Bytes size_;
};

// Pinned piece by piece: one call for hundreds of GiB is refused sooner, and says
// nothing of how far it came. Pieces end at addresses that are multiples of
// kPinnedPiece, so that a queue can cut its copies there without asking anybody:
// a copy never reaches over two registrations.
//
// Where the driver refuses (containers, ulimit -l, no memory left to lock), the
// rest stays pageable: slower, same bits, and one warning says so.
class CudaHostArena final : public Arena {
 public:
  static constexpr std::int64_t kPinnedPiece = std::int64_t{1} << 30;

  CudaHostArena(const CudaContext& context, const MappedMemoryOptions& options);
  ~CudaHostArena() override;
  CudaHostArena(const CudaHostArena&) = delete;
  CudaHostArena& operator=(const CudaHostArena&) = delete;

  std::byte* base() noexcept override { return memory_.base(); }
  Bytes size() const noexcept override { return memory_.size(); }
  Bytes pinned() const noexcept { return pinned_; }  // from the first byte on

 private:
  int pin_all();  // the status of the first refusal

  CudaContext context_;
  MappedMemory memory_;
  Bytes pinned_;
};

// The part of [address, address + size) before the next end of a piece.
Bytes within_piece(const void* address, Bytes size);

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// One preallocated swap file on a drive, read and written past the page cache.
// Back ends (io_uring; a pool of pread/pwrite threads) give the same bytes.
//
// A call that failed and may yet succeed is made again, a bounded number of times: an
// interrupted or cancelled one, EAGAIN, and EIO, which drives recover from.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "devices/base/units.h"

namespace sluice {

class Storage {
 public:
  // Receives completions, on a thread of the back end's. `error` is null on
  // success, else an Error{kIo} with path, offset, size and errno text. Quick,
  // and starts no transfer itself: that could wait for the very thread it is on.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void completed(std::uint64_t cookie, std::exception_ptr error) noexcept = 0;
  };

  virtual ~Storage() = default;

  virtual std::string description() const = 0;
  virtual Bytes size() const = 0;
  virtual Bytes alignment() const = 0;  // of offset, length and memory; 4 KiB or less

  // Starts one transfer of any length above 0; large ones are split and kept in flight
  // together. Blocks only while the back end's queue is full.
  // Ownership: the caller keeps `memory` alive and unmoved until completed().
  // Threads: any. Transfers run in any order: the caller orders what overlaps.
  virtual void read(Bytes offset, std::span<std::byte> memory, Listener& listener,
                    std::uint64_t cookie) = 0;
  virtual void write(Bytes offset, std::span<const std::byte> memory, Listener& listener,
                     std::uint64_t cookie) = 0;

  // Returns when all completed writes would survive a power cut.
  virtual void sync() = 0;

  // Memory that most transfers will use, worth keeping mapped for them (io_uring's registered
  // buffers) where RLIMIT_MEMLOCK allows it. Once, before the first transfer; the caller keeps
  // it until the Storage is gone.
  virtual void lend(std::span<std::byte> /*memory*/) {}
};

enum class StorageBackend : std::uint8_t { kAuto, kUring, kThreads };

struct StorageOptions {
  std::filesystem::path folder;  // must exist; the file gets a name of its own inside
  Bytes size = {};               // reserved on disk at once
  StorageBackend backend = StorageBackend::kAuto;
  bool checksum = false;  // of each page, when it is written and when it is read
  int depth = 16;         // blocks in flight
  bool nameless = false;  // its file loses its name at once, so that a killed process leaves none
};

// RAM that the checksums of a storage of `size` bytes take.
constexpr Bytes checksum_table(Bytes size) { return {divide_up(size.value, 4096) * 8}; }

// Creates, locks and preallocates the swap file; it is removed with the Storage.
// Errors: kIo where the folder is missing, unwritable or a tmpfs; kNoFit where
// the disk is too small; kConfig where a running process uses the folder's file, or
// io_uring is asked for by name and not to be had (kAuto warns and uses threads).
std::unique_ptr<Storage> open_storage(const StorageOptions& options);

// What every Storage opened from now on is put into, below its checksums: how a test makes
// faults. Null: nothing.
using StorageWrapper = std::function<std::unique_ptr<Storage>(std::unique_ptr<Storage>)>;
void wrap_storage(StorageWrapper wrapper);

// Blocking forms, for start-up and tests.
void read_now(Storage& storage, Bytes offset, std::span<std::byte> memory);
void write_now(Storage& storage, Bytes offset, std::span<const std::byte> memory);

}  // namespace sluice

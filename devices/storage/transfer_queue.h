// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Transfers that callers asked for, cut into blocks that a back end works off.
// What both back ends share: splitting, fairness between the two directions,
// counting down, and telling the listener exactly once.
//
// Threads  any. Nothing is allocated after construction but the text of an error.

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "devices/storage.h"
#include "devices/storage/swap_file.h"

namespace sluice {

// A piece of a transfer, of kBlock bytes at most.
struct Block {
  std::size_t transfer = 0;  // TransferQueue's own
  bool write = false;
  std::int64_t offset = 0;
  std::byte* memory = nullptr;  // read only where `write`
  std::int64_t size = 0;

  // `moved` bytes are done.
  void advance(std::int64_t moved) {
    offset += moved;
    memory += moved;
    size -= moved;
  }
};

class TransferQueue {
 public:
  static constexpr std::int64_t kBlock = std::int64_t{1} << 20;
  static constexpr std::size_t kCapacity = 256;

  TransferQueue();

  // Waits while kCapacity transfers are unfinished.
  void add(bool write, Bytes offset, std::byte* memory, std::int64_t size,
           Storage::Listener& listener, std::uint64_t cookie);

  std::optional<Block> try_take();
  std::optional<Block> take();  // waits for one; nothing once closed and empty

  // The block is done; with the last one of a transfer its listener is called.
  void finish(const Block& block, std::exception_ptr error);

  void close();  // no more add(); take() ends
  void drain();  // returns when all transfers have been told to their listeners

 private:
  struct Transfer {
    std::byte* memory = nullptr;
    std::int64_t offset = 0;
    std::int64_t untaken = 0;  // bytes not yet handed out as blocks
    std::int64_t blocks_left = 0;
    bool write = false;
    Storage::Listener* listener = nullptr;
    std::uint64_t cookie = 0;
    std::exception_ptr error = nullptr;
  };
  // First in, first out, of at most kCapacity indices.
  struct Line {
    std::vector<std::size_t> ring = std::vector<std::size_t>(kCapacity);
    std::size_t first = 0, size = 0;
  };

  std::optional<Block> next_block();  // mutex_ held

  std::mutex mutex_;
  std::condition_variable work_;  // a block to take, or closed
  std::condition_variable room_;  // a free transfer
  std::vector<Transfer> transfers_;
  std::vector<std::size_t> free_;
  Line lines_[2];            // reads, writes
  bool turn_ = false;        // whose line is asked first
  std::size_t telling_ = 0;  // listeners being called
  bool closed_ = false;
};

// The error of a failed block; 0 stands for an unexpected end of the file.
std::exception_ptr block_error(const SwapFile& file, const Block& block, int error_number);

// Checks a caller's promises about one transfer.
void check_transfer(const SwapFile& file, Bytes offset, const std::byte* memory, std::int64_t size);

}  // namespace sluice

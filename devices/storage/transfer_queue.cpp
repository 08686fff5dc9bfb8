// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/transfer_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/format.h"

namespace sluice {

TransferQueue::TransferQueue() : transfers_(kCapacity) {
  free_.reserve(kCapacity);
  for (std::size_t i = 0; i < kCapacity; ++i) free_.push_back(i);
}

void TransferQueue::add(bool write, Bytes offset, std::byte* memory, std::int64_t size,
                        Storage::Listener& listener, std::uint64_t cookie) {
  std::unique_lock lock(mutex_);
  SLUICE_CHECK(!closed_);
  room_.wait(lock, [&] { return !free_.empty(); });
  const std::size_t index = free_.back();
  free_.pop_back();
  transfers_[index] = {.memory = memory,
                       .offset = offset.value,
                       .untaken = size,
                       .blocks_left = divide_up(size, kBlock),
                       .write = write,
                       .listener = &listener,
                       .cookie = cookie};
  Line& line = lines_[write ? 1 : 0];
  line.ring[(line.first + line.size) % kCapacity] = index;
  ++line.size;
  lock.unlock();
  work_.notify_all();
}

// Reads and writes take turns, so that a long write does not hold up the read
// somebody computes with next; inside a direction the oldest goes first.
std::optional<Block> TransferQueue::next_block() {
  turn_ = !turn_;
  for (const bool write : {turn_, !turn_}) {
    Line& line = lines_[write ? 1 : 0];
    if (line.size == 0) continue;
    const std::size_t index = line.ring[line.first];
    Transfer& transfer = transfers_[index];
    Block block{.transfer = index,
                .write = write,
                .offset = transfer.offset,
                .memory = transfer.memory,
                .size = std::min(kBlock, transfer.untaken)};
    transfer.offset += block.size;
    transfer.memory += block.size;
    transfer.untaken -= block.size;
    if (transfer.untaken == 0) {
      line.first = (line.first + 1) % kCapacity;
      --line.size;
    }
    return block;
  }
  return std::nullopt;
}

std::optional<Block> TransferQueue::try_take() {
  const std::lock_guard lock(mutex_);
  return next_block();
}

std::optional<Block> TransferQueue::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    std::optional<Block> block = next_block();
    if (block || closed_) return block;
    work_.wait(lock);
  }
}

void TransferQueue::finish(const Block& block, std::exception_ptr error) {
  std::unique_lock lock(mutex_);
  Transfer& transfer = transfers_[block.transfer];
  if (error && !transfer.error) transfer.error = std::move(error);
  if (--transfer.blocks_left > 0) return;
  Storage::Listener* const listener = transfer.listener;
  const std::uint64_t cookie = transfer.cookie;
  std::exception_ptr first_error = std::exchange(transfer.error, nullptr);
  free_.push_back(block.transfer);
  ++telling_;
  lock.unlock();
  room_.notify_all();
  listener->completed(cookie, std::move(first_error));
  lock.lock();
  --telling_;
  room_.notify_all();
}

void TransferQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  work_.notify_all();
}

void TransferQueue::drain() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return free_.size() == kCapacity && telling_ == 0; });
}

std::exception_ptr block_error(const SwapFile& file, const Block& block, int error_number) {
  const std::string what =
      fmt::format("cannot {} {} at offset {} of {}", block.write ? "write" : "read",
                  format_bytes({block.size}), block.offset, file.path().string());
  const std::string why =
      error_number == 0 ? what + ": unexpected end of file" : with_errno(what, error_number);
  return std::make_exception_ptr(
      Error(ErrorKind::kIo, why + "; look at dmesg, or give another --limits.storage_path"));
}

void check_transfer(const SwapFile& file, Bytes offset, const std::byte* memory,
                    std::int64_t size) {
  const auto aligned = [](std::int64_t value) { return value % SwapFile::kAlignment.value == 0; };
  SLUICE_CHECK(size > 0 && aligned(size));
  SLUICE_CHECK(offset.value >= 0 && aligned(offset.value));
  SLUICE_CHECK(offset.value + size <= file.size().value);
  SLUICE_CHECK(aligned(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory))));
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/transfer_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "devices/base/error.h"

namespace sluice {
namespace {

struct Heard final : Storage::Listener {
  void completed(std::uint64_t cookie, std::exception_ptr error) noexcept override {
    cookies.push_back(cookie);
    failed += error ? 1 : 0;
  }
  std::vector<std::uint64_t> cookies;
  int failed = 0;
};

constexpr std::int64_t kBlock = TransferQueue::kBlock;

TEST(TransferQueue, SplitsATransferAndTellsOnce) {
  TransferQueue queue;
  Heard heard;
  std::vector<std::byte> memory(1);
  queue.add(false, {4096}, memory.data(), 2 * kBlock + 4096, heard, 7);
  std::vector<Block> blocks;
  while (const auto block = queue.try_take()) blocks.push_back(*block);
  ASSERT_EQ(blocks.size(), 3U);
  EXPECT_EQ(blocks[2].offset, 4096 + 2 * kBlock);
  EXPECT_EQ(blocks[2].memory, memory.data() + 2 * kBlock);
  EXPECT_EQ(blocks[2].size, 4096);
  queue.finish(blocks[2], nullptr);
  queue.finish(blocks[0], nullptr);
  EXPECT_TRUE(heard.cookies.empty());
  queue.finish(blocks[1], nullptr);
  EXPECT_EQ(heard.cookies, std::vector<std::uint64_t>{7});
  queue.drain();
}

TEST(TransferQueue, ReadsAndWritesTakeTurns) {
  TransferQueue queue;
  Heard heard;
  std::byte memory{};
  queue.add(true, {0}, &memory, 4 * kBlock, heard, 1);
  queue.add(false, {0}, &memory, 4 * kBlock, heard, 2);
  int writes = 0;
  for (int i = 0; i < 4; ++i) writes += queue.try_take()->write ? 1 : 0;
  EXPECT_EQ(writes, 2);
}

TEST(TransferQueue, FirstErrorOfABlockIsTheTransfers) {
  TransferQueue queue;
  Heard heard;
  std::byte memory{};
  queue.add(true, {0}, &memory, 2 * kBlock, heard, 1);
  const Block first = *queue.try_take();
  const Block second = *queue.try_take();
  queue.finish(first, std::make_exception_ptr(Error(ErrorKind::kIo, "drive")));
  queue.finish(second, nullptr);
  EXPECT_EQ(heard.failed, 1);
  EXPECT_EQ(heard.cookies.size(), 1U);
}

TEST(TransferQueue, AddWaitsWhileItIsFull) {
  TransferQueue queue;
  Heard heard;
  std::byte memory{};
  for (std::size_t i = 0; i < TransferQueue::kCapacity; ++i) {
    queue.add(true, {0}, &memory, 4096, heard, i);
  }
  std::atomic<bool> added{false};
  std::thread late([&] {
    queue.add(true, {0}, &memory, 4096, heard, 999);
    added = true;
  });
  EXPECT_FALSE(added);
  while (heard.cookies.size() <= TransferQueue::kCapacity) {
    if (const auto block = queue.try_take()) queue.finish(*block, nullptr);
  }
  late.join();
  EXPECT_EQ(heard.cookies.back(), 999U);
}

TEST(TransferQueue, TakeEndsWhenClosed) {
  TransferQueue queue;
  std::thread waiting([&] { EXPECT_FALSE(queue.take()); });
  queue.close();
  waiting.join();
}

}  // namespace
}  // namespace sluice

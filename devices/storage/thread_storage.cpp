// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/thread_storage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "devices/base/error.h"
#include "devices/storage/retries.h"
#include "devices/storage/transfer_queue.h"

namespace sluice {
namespace {

class ThreadStorage final : public Storage {
 public:
  ThreadStorage(std::unique_ptr<SwapFile> file, int threads) : file_(std::move(file)) {
    try {
      for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
    } catch (...) {
      stop();  // those that were started, where the next one has no memory
      throw;
    }
  }
  ~ThreadStorage() override { stop(); }
  ThreadStorage(const ThreadStorage&) = delete;
  ThreadStorage& operator=(const ThreadStorage&) = delete;

  std::string description() const override {
    return fmt::format("{} threads of pread and pwrite, {}", threads_.size(),
                       file_->direct() ? "direct" : "through the page cache");
  }
  Bytes size() const override { return file_->size(); }
  Bytes alignment() const override { return SwapFile::kAlignment; }

  void read(Bytes offset, std::span<std::byte> memory, Listener& listener,
            std::uint64_t cookie) override {
    const auto size = static_cast<std::int64_t>(memory.size());
    check_transfer(*file_, offset, memory.data(), size);
    queue_.add(/*write=*/false, SwapFile::kData + offset, memory.data(), size, listener, cookie);
  }
  void write(Bytes offset, std::span<const std::byte> memory, Listener& listener,
             std::uint64_t cookie) override {
    const auto size = static_cast<std::int64_t>(memory.size());
    check_transfer(*file_, offset, memory.data(), size);
    queue_.add(/*write=*/true, SwapFile::kData + offset, const_cast<std::byte*>(memory.data()),
               size, listener, cookie);
  }
  void sync() override { file_->sync(); }

 private:
  void stop() {
    queue_.close();
    for (std::thread& thread : threads_) thread.join();
  }

  void serve() {
    while (const std::optional<Block> block = queue_.take()) {
      queue_.finish(*block, move_bytes(*block));
      file_->forget({block->offset}, {block->size});
    }
  }

  std::exception_ptr move_bytes(Block block) const {
    Retries retries;
    while (block.size > 0) {
      const auto size = static_cast<std::size_t>(block.size);
      const ssize_t moved = block.write
                                ? pwrite(file_->descriptor(), block.memory, size, block.offset)
                                : pread(file_->descriptor(), block.memory, size, block.offset);
      const int error_number = moved < 0 ? errno : 0;
      if (moved < 0 && retries.again(error_number)) continue;
      // The rest of a short transfer must start aligned; a crumb is moved once more.
      const std::int64_t whole = moved - moved % SwapFile::kAlignment.value;
      if (whole <= 0) return block_error(*file_, block, error_number);
      block.advance(whole);
    }
    return nullptr;
  }

  std::unique_ptr<SwapFile> file_;
  TransferQueue queue_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Storage> open_thread_storage(std::unique_ptr<SwapFile> file,
                                             const StorageOptions& options) {
  return std::make_unique<ThreadStorage>(std::move(file), std::max(1, options.depth));
}

}  // namespace sluice

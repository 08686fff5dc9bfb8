// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <utility>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "devices/storage/checked_storage.h"
#include "devices/storage/swap_file.h"
#include "devices/storage/thread_storage.h"
#include "devices/storage/uring_storage.h"

namespace sluice {
namespace {

class WaitForOne final : public Storage::Listener {
 public:
  void completed(std::uint64_t, std::exception_ptr error) noexcept override {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    done_ = true;
    changed_.notify_one();  // under the lock: the waiter takes us away with it
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::exception_ptr error_;
};

StorageWrapper& the_wrapper() {
  static StorageWrapper wrapper;
  return wrapper;
}

std::unique_ptr<Storage> open_back_end(const StorageOptions& options) {
  auto file = std::make_unique<SwapFile>(options.folder, options.size);
  if (options.nameless) file->drop_name();
  if (options.backend != StorageBackend::kThreads) {
    std::string refusal;
    if (auto storage = open_uring_storage(file, options, refusal)) return storage;
    if (options.backend == StorageBackend::kUring) {
      throw Error(
          ErrorKind::kConfig,
          fmt::format("io_uring is not to be had here ({}): use the threads back end", refusal));
    }
    log_warn(
        fmt::format("storage without io_uring ({}): using threads, which cost more CPU; "
                    "allow io_uring in the container or kernel.io_uring_disabled",
                    refusal));
  }
  return open_thread_storage(std::move(file), options);
}

}  // namespace

void wrap_storage(StorageWrapper wrapper) { the_wrapper() = std::move(wrapper); }

std::unique_ptr<Storage> open_storage(const StorageOptions& options) {
  std::unique_ptr<Storage> storage = open_back_end(options);
  if (the_wrapper()) storage = the_wrapper()(std::move(storage));
  if (!options.checksum) return storage;
  return check_pages(std::move(storage), options.folder / swap_file_name());
}

void read_now(Storage& storage, Bytes offset, std::span<std::byte> memory) {
  WaitForOne listener;
  storage.read(offset, memory, listener, 0);
  listener.wait();
}

void write_now(Storage& storage, Bytes offset, std::span<const std::byte> memory) {
  WaitForOne listener;
  storage.write(offset, memory, listener, 0);
  listener.wait();
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A Storage whose transfers end in another order than they began in.

#include <chrono>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "devices/storage.h"

namespace sluice {

class UnorderedStorage final : public Storage {
 public:
  explicit UnorderedStorage(Storage& inner) : inner_(inner) {}
  ~UnorderedStorage() override {
    for (std::thread& thread : threads_) thread.join();
  }

  std::string description() const override { return "unordered"; }
  Bytes size() const override { return inner_.size(); }
  Bytes alignment() const override { return inner_.alignment(); }
  void read(Bytes offset, std::span<std::byte> memory, Listener& listener,
            std::uint64_t cookie) override {
    later([this, offset, memory] { read_now(inner_, offset, memory); }, listener, cookie);
  }
  void write(Bytes offset, std::span<const std::byte> memory, Listener& listener,
             std::uint64_t cookie) override {
    later([this, offset, memory] { write_now(inner_, offset, memory); }, listener, cookie);
  }
  void sync() override { inner_.sync(); }

 private:
  // Every other transfer waits for a millisecond.
  template <typename Transfer>
  void later(Transfer transfer, Listener& listener, std::uint64_t cookie) {
    const std::lock_guard lock(mutex_);
    const bool late = ++started_ % 2 == 1;
    threads_.emplace_back([=, &listener] {
      if (late) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      transfer();
      listener.completed(cookie, nullptr);
    });
  }

  Storage& inner_;
  std::mutex mutex_;
  int started_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace sluice

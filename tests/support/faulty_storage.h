// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A Storage that fails in the ways of drives: errors, delays, another order, bits that
// flip, writes that go elsewhere or nowhere. Each way is a failpoint with a name; which
// transfers it strikes follows from a seed, so that a run can be replayed.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "devices/base/error.h"
#include "devices/storage.h"

namespace sluice {

enum class Failpoint : std::uint8_t {
  kReadError,
  kWriteError,
  kReadSlow,
  kWriteSlow,
  kReadReordered,  // ends after transfers that began later
  kWriteReordered,
  kReadFlipped,      // a bit of what the drive gives
  kReadMisdirected,  // from another offset
  kWriteFlipped,     // a bit of what the drive keeps
  kWriteLost,        // acknowledged and not done
  kWriteMisdirected,
};
struct NamedFailpoint {
  Failpoint point;
  const char* name;
};
inline constexpr std::array kFailpoints = {
    NamedFailpoint{Failpoint::kReadError, "read.error"},
    NamedFailpoint{Failpoint::kWriteError, "write.error"},
    NamedFailpoint{Failpoint::kReadSlow, "read.slow"},
    NamedFailpoint{Failpoint::kWriteSlow, "write.slow"},
    NamedFailpoint{Failpoint::kReadReordered, "read.reordered"},
    NamedFailpoint{Failpoint::kWriteReordered, "write.reordered"},
    NamedFailpoint{Failpoint::kReadFlipped, "read.flipped"},
    NamedFailpoint{Failpoint::kReadMisdirected, "read.misdirected"},
    NamedFailpoint{Failpoint::kWriteFlipped, "write.flipped"},
    NamedFailpoint{Failpoint::kWriteLost, "write.lost"},
    NamedFailpoint{Failpoint::kWriteMisdirected, "write.misdirected"}};

struct FaultPlan {
  Failpoint point = Failpoint::kReadError;
  unsigned seed = 1;
  int first = 1;       // transfer of that direction which is the first to be struck
  double share = 1.0;  // of those from there on
  int most = 1;        // struck in all
};

// Shared with the test, which outlives the Storage.
struct FaultCount {
  std::atomic<int> transfers{0};  // of the direction
  std::atomic<int> struck{0};
};

// Blocking: a transfer that is not struck is passed on, one that is has a thread of its own.
class FaultyStorage final : public Storage {
 public:
  FaultyStorage(std::unique_ptr<Storage> inner, FaultPlan plan, std::shared_ptr<FaultCount> counted)
      : inner_(std::move(inner)), plan_(plan), counted_(std::move(counted)), random_(plan.seed) {}
  ~FaultyStorage() override {
    for (std::thread& thread : threads_) thread.join();
  }

  std::string description() const override { return inner_->description() + ", faulty"; }
  Bytes size() const override { return inner_->size(); }
  Bytes alignment() const override { return inner_->alignment(); }
  void sync() override { inner_->sync(); }

  void read(Bytes offset, std::span<std::byte> memory, Listener& listener,
            std::uint64_t cookie) override {
    const auto strikes =
        strike({Failpoint::kReadError, Failpoint::kReadSlow, Failpoint::kReadReordered,
                Failpoint::kReadFlipped, Failpoint::kReadMisdirected});
    if (!strikes) return inner_->read(offset, memory, listener, cookie);
    later(
        [this, offset, memory, draw = *strikes] {
          if (plan_.point == Failpoint::kReadMisdirected) {
            return read_now(*inner_, elsewhere(offset, memory.size(), draw), memory);
          }
          read_now(*inner_, offset, memory);
          if (plan_.point == Failpoint::kReadFlipped) flip(memory, draw);
        },
        listener, cookie);
  }

  void write(Bytes offset, std::span<const std::byte> memory, Listener& listener,
             std::uint64_t cookie) override {
    const auto strikes =
        strike({Failpoint::kWriteError, Failpoint::kWriteSlow, Failpoint::kWriteReordered,
                Failpoint::kWriteFlipped, Failpoint::kWriteLost, Failpoint::kWriteMisdirected});
    if (!strikes) return inner_->write(offset, memory, listener, cookie);
    later(
        [this, offset, memory, draw = *strikes] {
          if (plan_.point == Failpoint::kWriteLost) return;
          if (plan_.point == Failpoint::kWriteMisdirected) {
            return write_now(*inner_, elsewhere(offset, memory.size(), draw), memory);
          }
          write_now(*inner_, offset, memory);
          if (plan_.point != Failpoint::kWriteFlipped) return;
          const std::size_t page = draw % (memory.size() / kPage) * kPage;
          alignas(kPage) std::array<std::byte, kPage> bytes;
          std::memcpy(bytes.data(), &memory[page], kPage);
          flip(bytes, draw >> 16);
          write_now(*inner_, offset + Bytes{static_cast<std::int64_t>(page)}, bytes);
        },
        listener, cookie);
  }

 private:
  static constexpr std::size_t kPage = 4096;

  // A number at random where this transfer is struck.
  std::optional<std::uint64_t> strike(std::initializer_list<Failpoint> direction) {
    if (std::find(direction.begin(), direction.end(), plan_.point) == direction.end()) {
      return std::nullopt;
    }
    const std::lock_guard lock(mutex_);
    const int transfer = ++counted_->transfers;
    const bool struck = std::uniform_real_distribution<>(0, 1)(random_) < plan_.share;
    if (transfer < plan_.first || !struck || counted_->struck >= plan_.most) return std::nullopt;
    ++counted_->struck;
    return random_();
  }

  template <typename Transfer>
  void later(Transfer transfer, Listener& listener, std::uint64_t cookie) {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, transfer, &listener, cookie] {
      using P = Failpoint;
      if (plan_.point == P::kReadError || plan_.point == P::kWriteError) {
        return listener.completed(
            cookie, std::make_exception_ptr(Error(ErrorKind::kIo, "planted error of the drive")));
      }
      if (plan_.point == P::kReadSlow || plan_.point == P::kWriteSlow) {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
      }
      if (plan_.point == P::kReadReordered || plan_.point == P::kWriteReordered) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      transfer();
      listener.completed(cookie, nullptr);
    });
  }

  static void flip(std::span<std::byte> memory, std::uint64_t draw) {
    memory[draw / 8 % memory.size()] ^= std::byte{1} << (draw % 8);
  }

  Bytes elsewhere(Bytes offset, std::size_t size, std::uint64_t draw) const {
    const auto room = (inner_->size().value - static_cast<std::int64_t>(size)) / 4096;
    const std::int64_t page = static_cast<std::int64_t>(draw >> 8) % (room + 1);
    return {4096 * (4096 * page == offset.value ? (page + 1) % (room + 1) : page)};
  }

  std::unique_ptr<Storage> inner_;
  const FaultPlan plan_;
  std::shared_ptr<FaultCount> counted_;
  std::mutex mutex_;
  std::mt19937_64 random_;
  std::vector<std::thread> threads_;
};

// While it lives, every Storage that is opened is faulty.
class FaultsInStorage {
 public:
  explicit FaultsInStorage(FaultPlan plan) {
    wrap_storage([plan, counted = counted_](std::unique_ptr<Storage> inner) {
      return std::make_unique<FaultyStorage>(std::move(inner), plan, counted);
    });
  }
  ~FaultsInStorage() { wrap_storage(nullptr); }
  FaultsInStorage(const FaultsInStorage&) = delete;
  FaultsInStorage& operator=(const FaultsInStorage&) = delete;

  const FaultCount& counted() const { return *counted_; }

 private:
  std::shared_ptr<FaultCount> counted_ = std::make_shared<FaultCount>();
};

}  // namespace sluice

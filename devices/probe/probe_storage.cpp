// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <random>

#include "devices/host/host_arena.h"
#include "devices/probe/probe.h"
#include "devices/probe/typical_time.h"
#include "devices/storage/file_system.h"
#include "devices/storage/swap_file.h"

namespace sluice {
namespace {

using namespace literals;

constexpr Bytes kBlock = 1_MiB;
constexpr int kDepth = 16;

// Lets a fixed number of transfers be in flight, and keeps the first error.
class Window final : public Storage::Listener {
 public:
  void completed(std::uint64_t, std::exception_ptr error) noexcept override {
    const std::lock_guard lock(mutex_);
    --in_flight_;
    if (error && !error_) error_ = error;
    changed_.notify_all();
  }
  void enter(int depth) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return in_flight_ < depth; });
    ++in_flight_;
  }
  void finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return in_flight_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int in_flight_ = 0;
  std::exception_ptr error_;
};

enum class Traffic : std::uint8_t { kRead, kWrite, kMixed };

// One pass over the file: every block read or written, or every other one.
void pass(Storage& storage, HostArena& memory, Traffic traffic) {
  Window window;
  const std::int64_t blocks = storage.size().value / kBlock.value;
  for (std::int64_t i = 0; i < blocks; ++i) {
    window.enter(kDepth);
    const std::span<std::byte> block{memory.base() + i % kDepth * kBlock.value, count(kBlock)};
    const bool write = traffic == Traffic::kWrite || (traffic == Traffic::kMixed && i % 2 == 0);
    if (write) {
      storage.write(kBlock * i, block, window, 0);
    } else {
      storage.read(kBlock * i, block, window, 0);
    }
  }
  window.finish();
  if (traffic != Traffic::kRead) storage.sync();
}

Seconds read_latency(Storage& storage, HostArena& memory) {
  std::int64_t read = 0;
  return typical_time(Seconds{0}, 16, [&] {
    read_now(storage, kBlock * (read++ * 7 % (storage.size().value / kBlock.value)),
             {memory.base(), count(SwapFile::kAlignment)});
  });
}

}  // namespace

StorageRates measure_storage(const std::filesystem::path& folder, Bytes most, bool quick,
                             StorageBackend backend) {
  std::error_code missing;
  const bool there = std::filesystem::is_directory(folder, missing);
  Bytes size = std::min(most, quick ? 128_MiB : 1_GiB);
  if (there) size = std::min(size, Bytes{free_space(folder).value / 2});
  size = std::max(Bytes{size.value / kBlock.value * kBlock.value}, kBlock);
  HostArena memory({.size = kBlock * kDepth});
  // Numbers, not zeros: those are what some drives do not even store.
  std::mt19937_64 random(1);
  const auto words = count(memory.size()) / sizeof(std::uint64_t);
  std::generate_n(reinterpret_cast<std::uint64_t*>(memory.base()), words, std::ref(random));
  const auto storage =
      open_storage({.folder = folder, .size = size, .backend = backend, .depth = kDepth});
  storage->lend({memory.base(), count(memory.size())});
  StorageRates rates{.read = {}, .write = {}, .block = kBlock, .depth = kDepth};
  // Long enough to empty what a throttled drive grants for a moment: training writes all day.
  // The first write, which is not counted, also turns reserved blocks into written ones:
  // training pays that once.
  const auto rate = [&](Traffic traffic) {
    const Seconds time =
        typical_time(Seconds{quick ? 1.0 : 3.0}, 3, [&] { pass(*storage, memory, traffic); });
    return BytesPerSecond{static_cast<double>(size.value) / time.count()};
  };
  rates.write = rate(Traffic::kWrite);
  rates.read = rate(Traffic::kRead);
  const BytesPerSecond mixed = rate(Traffic::kMixed);
  // Half of the bytes each way: the time each half takes alone, over that of both at once.
  const double alone = 0.5 / rates.read.value + 0.5 / rates.write.value;
  rates.mixed_factor = std::clamp(alone * mixed.value / 2, 0.05, 1.0);
  rates.latency = read_latency(*storage, memory);
  return rates;
}

}  // namespace sluice

// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>

#include "devices/host/host_arena.h"
#include "devices/probe/probe.h"
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
BytesPerSecond pass(Storage& storage, HostArena& memory, Traffic traffic) {
  Window window;
  const Seconds start = steady_seconds();
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
  return {static_cast<double>(blocks * kBlock.value) / (steady_seconds() - start).count()};
}

Seconds read_latency(Storage& storage, HostArena& memory) {
  Seconds best{std::numeric_limits<double>::infinity()};
  for (int i = 0; i < 16; ++i) {
    const Seconds start = steady_seconds();
    read_now(storage, kBlock * (i * 7 % (storage.size().value / kBlock.value)),
             {memory.base(), count(SwapFile::kAlignment)});
    best = std::min(best, steady_seconds() - start);
  }
  return best;
}

}  // namespace

StorageRates measure_storage(const std::filesystem::path& folder, Bytes most, bool quick,
                             StorageBackend backend) {
  std::error_code missing;
  const bool there = std::filesystem::is_directory(folder, missing);
  Bytes size = std::min(most, quick ? 64_MiB : 1_GiB);
  if (there) size = std::min(size, Bytes{free_space(folder).value / 2});
  size = std::max(Bytes{size.value / kBlock.value * kBlock.value}, kBlock);
  HostArena memory({.size = kBlock * kDepth});
  const auto storage =
      open_storage({.folder = folder, .size = size, .backend = backend, .depth = kDepth});
  storage->lend({memory.base(), count(memory.size())});
  StorageRates rates{.read = {}, .write = {}, .block = kBlock, .depth = kDepth};
  // The first write also turns reserved blocks into written ones: training pays
  // that once, so it does not count.
  static_cast<void>(pass(*storage, memory, Traffic::kWrite));
  BytesPerSecond mixed{};
  for (int i = 0; i < (quick ? 2 : 3); ++i) {
    rates.write.value = std::max(rates.write.value, pass(*storage, memory, Traffic::kWrite).value);
    rates.read.value = std::max(rates.read.value, pass(*storage, memory, Traffic::kRead).value);
    mixed.value = std::max(mixed.value, pass(*storage, memory, Traffic::kMixed).value);
  }
  // Half of the bytes each way: the time each half takes alone, over that of both at once.
  const double alone = 0.5 / rates.read.value + 0.5 / rates.write.value;
  rates.mixed_factor = std::clamp(alone * mixed.value / 2, 0.05, 1.0);
  rates.latency = read_latency(*storage, memory);
  return rates;
}

}  // namespace sluice
